import type { Conntrack } from '../../src/netfilter/ctnetlink.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { computeUdpDestinations, createStaleFlowTest } from './stale-flows.ts';

/** Makes the kernel forget UDP flows to endpoints that are gone. TCP needs none of it: there the reset tells the client. */
export interface ConntrackCleaner {
  /**
   * After a sync. Looks at the services named, at all on the first call (a restart only removes what has become stale meanwhile).
   * Without UDP among them nothing is read. Failures are logged: rules are right, and the next change tries again.
   * @returns how many flows were deleted
   */
  clean(snapshot: ProxySnapshot, dirty: ReadonlySet<string>, signal?: AbortSignal): Promise<number>;
}

export interface ConntrackCleanerDependencies {
  conntrack: Conntrack;
  /** The node's own, as they are now. */
  localAddresses(): readonly string[];
  log: Logger;
}

export function createConntrackCleaner(deps: ConntrackCleanerDependencies): ConntrackCleaner {
  let before: ProxySnapshot | undefined;
  /** Destinations of a look that failed; some may be of services that are gone. */
  let owed: readonly string[] = [];
  return {
    async clean(snapshot, dirty, signal) {
      const looksAtAll = !before || owed.length > 0;
      const services = looksAtAll ? snapshot.services.keys() : dirty;
      const destinations = computeUdpDestinations(snapshot, before, new Set([...services, ...dirty]));
      for (const destination of owed) if (!destinations.has(destination)) destinations.set(destination, new Set());
      before = snapshot;
      if (destinations.size === 0) return 0;
      try {
        const isStale = createStaleFlowTest(destinations, new Set(deps.localAddresses()));
        const deleted = await deps.conntrack.deleteUdpFlows(snapshot.family, isStale, signal);
        owed = [];
        return deleted;
      } catch (error) {
        owed = [...destinations.keys()];
        if (!signal?.aborted) deps.log.warn({ err: error }, 'stale UDP flows could not be removed');
        return 0;
      }
    },
  };
}
