import type { Router } from 'express';
import type { Run } from '../../src/netfilter/iptables.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { ProxyMode } from '../mode.ts';
import { addressesOf, readLocalInterfaces } from '../node-addresses.ts';
import { readLiveRules } from '../trace/live-rules.ts';
import { createDebugRoutes, type DebugAccess } from './routes.ts';
import { createSyncState, type SyncState } from './sync-state.ts';

export interface DebugDependencies {
  run: Run;
  clock: Clock;
  log: Logger;
  /** Without it nothing is served: there is nobody to ask who may read. */
  access?: DebugAccess;
}

/** What a running proxy tells about itself, Service by Service. */
export interface ProxyDebug {
  synced: (family: IpFamily, done: Parameters<SyncState['synced']>[1]) => void;
  /** For `/debug/berth`. */
  routes?: Router;
}

export function createProxyDebug(
  { mode, families, netns }: { mode: ProxyMode; families: readonly IpFamily[]; netns?: string },
  { run, clock, log, access }: DebugDependencies,
): ProxyDebug {
  const state = createSyncState();
  return {
    synced: (family, done) => state.synced(family, done, clock.nowMs()),
    routes:
      access &&
      createDebugRoutes({
        mode,
        families,
        state,
        access,
        log,
        nowMs: clock.nowMs,
        host: () => ({ localAddresses: addressesOf(readLocalInterfaces(netns)) }),
        readLive: (family) => readLiveRules(family, { run, netns }),
      }),
  };
}
