import type { PodNetwork } from '../../agent/pods/ports.ts';
import { createPodNetwork } from '../../cni/invoke/pod-network.ts';
import { createSubnetFileMtu } from '../../cni/invoke/subnet-file-mtu.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import { type CniFlags, parseBinDirs, parseCniMode } from '../cni/flags.ts';
import type { ProgramContext } from './context.ts';
import { NODE_OVERLAY } from './overlay-part.ts';

/** What the agent knows of its node by the time it makes the pod network. */
export interface NetworkOfNode {
  /** The node's own, as soon as it has them. */
  podCidrs: () => readonly string[];
  registry: Registry;
  heartbeats: Heartbeats;
  /** An event of the node. */
  tell?(type: 'Normal' | 'Warning', reason: string, message: string): void;
}

/** The agent's port, with a loop of its own. */
export type PodNetworkPart = PodNetwork & Runnable & { onChange(handler: () => void): void; close(): void };

interface BuiltinNetworkFlags {
  bridge: string;
  clusterCidrs: readonly string[];
  serviceCidrs: readonly string[];
  /** Of the built-in network's leases. */
  dataDir: string;
  /** Of the overlay in this process; absent: what one beside it writes to flannel's subnet.env. */
  mtu?: () => number | undefined | 'pending';
}

/** Longer than a few plugins that hang until their time is up. */
const SILENCE_MS = 15 * 60_000;

/** The pods' network by a configuration of the host, or the built-in one. @throws UserError */
export function createPodNetworkPart(
  flags: CniFlags & BuiltinNetworkFlags,
  { log, clock }: ProgramContext,
): (node: NetworkOfNode) => PodNetworkPart {
  const mode = parseCniMode(flags.cni);
  const mtuOfFile = createSubnetFileMtu(NODE_OVERLAY.subnetFile);
  return ({ podCidrs, registry, heartbeats, tell }) =>
    createPodNetwork(
      {
        mode,
        confDir: flags.cniConfDir,
        binDirs: parseBinDirs(flags.cniBinDir),
        cacheDir: flags.cniCacheDir,
        bridge: flags.bridge,
        clusterCidrs: flags.clusterCidrs,
        serviceCidrs: flags.serviceCidrs,
        dataDir: flags.dataDir,
        podCidrs,
        mtu: flags.mtu ?? (() => mtuOfFile(podCidrs())),
      },
      { log, clock, registry, beat: heartbeats.register('pod network', SILENCE_MS), ...(tell && { tell }) },
    );
}
