import { isDeepStrictEqual } from 'node:util';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { ModeDependencies, NodeRenderOptions, Proxier } from '../mode.ts';
import { addressesOf, readLocalInterfaces } from '../node-addresses.ts';
import { addressOfFamily, isLoopback } from '../state/addresses.ts';
import { categorizeEndpoints } from '../state/categorize.ts';
import type { ProxySnapshot } from '../state/model.ts';
import type { PortalTable } from './portal-table.ts';
import { buildPortals, type PortalSet } from './portals.ts';
import { createRelays } from './relays.ts';

/** As the kernel forgets a UDP flow without an answer. */
const UDP_IDLE_MS = 30_000;

/**
 * Relays first, then the portals to them, then the relays that nobody needs any more go: at no moment a portal leads nowhere. Costs
 * O(services) a sync; this mode is for hosts that can do no other.
 */
export function createUserspaceProxier(family: IpFamily, table: PortalTable, deps: ModeDependencies): Proxier {
  const { clock, log } = deps;
  const udpIdleMs = deps.config.conntrack.udpTimeoutMs || UDP_IDLE_MS;
  const relays = createRelays({ netns: deps.netns, udpIdleMs, clock, log });
  const refused = new Set<string>();
  let applied: PortalSet | undefined;

  function refuseSctp(snapshot: ProxySnapshot): void {
    for (const [name, { ports }] of snapshot.services)
      for (const { port } of ports) {
        if (port.protocol !== 'SCTP' || refused.has(port.displayName)) continue;
        refused.add(port.displayName);
        const message = `port ${port.displayName} is not served: the userspace proxy mode relays TCP and UDP, not SCTP; use another mode`;
        log.warn({ service: name }, message);
        const about = { apiVersion: 'v1', kind: 'Service', namespace: port.namespace, name: port.name };
        deps.warn?.(about, 'UnsupportedProtocol', message);
      }
  }

  return {
    async sync(snapshot, _dirty, { node, full, signal }) {
      refuseSctp(snapshot);
      const relayAddress = pickRelayAddress(family, node, addressesOf(readLocalInterfaces(deps.netns)));
      await relays.ensure(snapshot, node.node, relayAddress);
      const set: PortalSet = {
        family,
        relayAddress,
        relayPorts: relays.ports(),
        localDetector: node.localDetector,
        nodePortAddresses: node.nodePortAddresses,
        takesLoopback: node.localhostNodePorts,
        ...buildPortals(snapshot, node, relays.port),
      };
      const wrote = !isDeepStrictEqual(set, applied) || (full && !(await table.stands(signal)));
      if (wrote) {
        applied = undefined;
        await table.apply(set);
        applied = set;
      }
      relays.retire();
      return {
        kind: full ? 'full' : 'partial',
        wrote,
        skipsHourlyRepair: false,
        withoutLocalEndpoints: countWithoutLocal(snapshot, node),
      };
    },
    async isFlushed(signal) {
      if (await table.stands(signal)) return false;
      applied = undefined;
      return true;
    },
    async close() {
      relays.endAll();
    },
  };
}

/** Where relays listen: an address of the host that pods and clients can answer to, if there is one. */
export function pickRelayAddress(family: IpFamily, { nodeIps }: NodeRenderOptions, local: readonly string[]): string {
  const own = local.flatMap((address) => addressOfFamily(address, family) ?? []);
  const usable = own.filter((address) => !isLoopback(address) && !address.startsWith('fe80'));
  return nodeIps.find((ip) => usable.includes(ip)) ?? usable[0] ?? (family === 'IPv4' ? '127.0.0.1' : '::1');
}

function countWithoutLocal(snapshot: ProxySnapshot, { node }: NodeRenderOptions) {
  const count = { internal: 0, external: 0 };
  for (const { ports } of snapshot.services.values())
    for (const { port, endpoints } of ports) {
      const { hasAny, local } = categorizeEndpoints(endpoints, port, node);
      if (!hasAny || local.length > 0) continue;
      if (port.isInternalPolicyLocal) count.internal++;
      if (port.isExternalPolicyLocal) count.external++;
    }
  return count;
}
