import { networkInterfaces } from 'node:os';
import type { Conntrack } from '../../src/netfilter/conntrack.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { computeUdpDestinations, findStaleFlows } from './stale-flows.ts';

/** Makes the kernel forget UDP flows to endpoints that are gone. TCP needs none of it: there the reset tells the client. */
export interface ConntrackCleaner {
  /**
   * After a sync. Looks at the services named, at all on the first call (a restart only removes what has become stale meanwhile).
   * Without UDP among them nothing is read. Failures are logged: rules are right, and the next change tries again.
   * @returns how many flows were deleted
   */
  clean(snapshot: ProxySnapshot, dirty: ReadonlySet<string>, signal?: AbortSignal): Promise<number>;
}

export function createConntrackCleaner(conntrack: Conntrack, log: Logger): ConntrackCleaner {
  let before: ProxySnapshot | undefined;
  /** Services whose flows could not be looked at. */
  let missed = new Set<string>();
  return {
    async clean(snapshot, dirty, signal) {
      const services = before ? new Set([...dirty, ...missed]) : new Set(snapshot.services.keys());
      const destinations = computeUdpDestinations(snapshot, before, services);
      let deleted = 0;
      if (destinations.size > 0)
        try {
          const flows = await conntrack.listUdpFlows(snapshot.family, signal);
          for (const flow of findStaleFlows(flows, destinations, localAddresses()))
            deleted += await conntrack.deleteUdpFlows(snapshot.family, flow, signal);
          missed = new Set();
        } catch (error) {
          missed = services;
          if (!signal?.aborted) log.warn({ err: error }, 'stale UDP flows could not be removed');
        }
      before = snapshot;
      return deleted;
    },
  };
}

function localAddresses(): Set<string> {
  return new Set(Object.values(networkInterfaces()).flatMap((ones) => (ones ?? []).map(({ address }) => address)));
}
