import { hostname } from 'node:os';
import { AGENT_DEFAULTS, type AgentOptions } from '../../agent/agent-options.ts';
import type { AgentPartOptions } from './agent-part-options.ts';

/** KubeletConfiguration and flags in the agent's own terms. */
export function agentOptions(options: AgentPartOptions): AgentOptions {
  const { config } = options;
  return {
    ...AGENT_DEFAULTS,
    nodeName: options.nodeName,
    nodeHostname: hostname(),
    nodeIps: options.nodeIps,
    rootDir: options.rootDir,
    podLogsDir: options.podLogsDir,
    containerLogsDir: options.containerLogsDir,
    pauseImage: options.pauseImage,
    clusterDns: [...config.clusterDNS],
    clusterDomain: config.clusterDomain,
    resolvConfPath: config.resolvConf,
    ...(config.staticPodPath && { staticPodPath: config.staticPodPath }),
    fileCheckMs: config.fileCheckFrequencyMs,
    ...(config.staticPodURL && { staticPodUrl: config.staticPodURL }),
    staticPodUrlHeaders: config.staticPodURLHeader,
    httpCheckMs: config.httpCheckFrequencyMs,
    resyncMs: config.syncFrequencyMs,
    images: options.images,
    containerLogMaxSizeBytes: config.containerLogMaxSizeBytes,
    containerLogMaxFiles: config.containerLogMaxFiles,
    imageGc: {
      highThresholdPercent: config.imageGCHighThresholdPercent,
      lowThresholdPercent: config.imageGCLowThresholdPercent,
      minimumAgeMs: config.imageMinimumGCAgeMs,
      maximumAgeMs: config.imageMaximumGCAgeMs,
    },
    ...(options.containerGc && { containerGc: options.containerGc }),
    sharesEngine: options.sharesEngine ?? false,
    seccompDefault: config.seccompDefault,
    crashLoopMaxMs: config.crashLoopBackOff.maxContainerRestartPeriodMs,
  };
}
