import { availableParallelism } from 'node:os';
import type { GarbageCollectionOptions } from './gc/build.ts';
import type { ImageSettings } from './images/image-parts.ts';
import type { SourcesOptions } from './sources/sources.ts';

export interface AgentOptions extends SourcesOptions, GarbageCollectionOptions {
  /** The kernel's host name, for host-network pods. */
  nodeHostname: string;
  nodeIps: string[];
  /** /var/lib/berth: pods' directories and volumes. */
  rootDir: string;
  /** /var/log/pods */
  podLogsDir: string;
  /** /var/log/containers */
  containerLogsDir: string;
  clusterDns: string[];
  clusterDomain: string;
  /** The node's resolv.conf; empty string: none. */
  resolvConfPath: string;
  /** The node's /etc/hosts. */
  hostsPath: string;
  /** `syncFrequency`, 60 s. */
  resyncMs: number;
  /** How often all containers are listed, whatever the event stream says; 60 s. */
  relistMs: number;
  images: ImageSettings;
  /** Create and start calls that the Engine works on at once. */
  maxParallelStarts: number;
  containerLogMaxSizeBytes: number;
  containerLogMaxFiles: number;
  seccompDefault: boolean;
  /** `crashLoopBackOff.maxContainerRestartPeriod`, 300 s. */
  crashLoopMaxMs: number;
}

/** What agents use unless their configuration says otherwise (upstream's defaults). */
export const AGENT_DEFAULTS = {
  rootDir: '/var/lib/berth',
  podLogsDir: '/var/log/pods',
  containerLogsDir: '/var/log/containers',
  clusterDns: [] as string[],
  clusterDomain: 'cluster.local',
  resolvConfPath: '/etc/resolv.conf',
  hostsPath: '/etc/hosts',
  fileCheckMs: 20_000,
  staticPodUrlHeaders: {},
  httpCheckMs: 20_000,
  resyncMs: 60_000,
  relistMs: 60_000,
  images: {
    maxParallelPulls: 1,
    pullsPerSecond: 5,
    pullBurst: 10,
    progressDeadlineMs: 60_000,
    verification: { policy: 'NeverVerifyPreloadedImages', allowlist: [] },
    homeDir: '/root',
  } as ImageSettings,
  maxParallelStarts: Math.max(4, 2 * availableParallelism()),
  containerLogMaxSizeBytes: 10 << 20,
  containerLogMaxFiles: 5,
  seccompDefault: false,
  crashLoopMaxMs: 300_000,
  imageGc: { highThresholdPercent: 85, lowThresholdPercent: 80, minimumAgeMs: 120_000, maximumAgeMs: 0 },
  containerGc: { maximumPerContainer: 1, maximumTotal: -1, minimumAgeMs: 0 },
  sharesEngine: false,
};
