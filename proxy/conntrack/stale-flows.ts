import type { UdpFlow } from '../../src/netfilter/ctnetlink.ts';
import { joinHostPort } from '../state/addresses.ts';
import type { ProxySnapshot, ServicePortState } from '../state/model.ts';

/**
 * Where UDP clients send to, and who may answer: `VIP:port` or `*:nodePort` → `ip:port` of every endpoint that serves.
 * Endpoints on their way out still count; traffic policies and topology don't: a flow that works is left alone.
 */
export type UdpDestinations = Map<string, Set<string>>;

/** The destinations of some services. Those that `before` had and that are gone keep their place, with nobody to answer. */
export function computeUdpDestinations(
  snapshot: ProxySnapshot,
  before: ProxySnapshot | undefined,
  services: Iterable<string>,
): UdpDestinations {
  const destinations: UdpDestinations = new Map();
  const add = (key: string, endpoints: readonly string[]) => {
    const known = destinations.get(key) ?? new Set<string>();
    destinations.set(key, known);
    for (const endpoint of endpoints) known.add(endpoint);
  };
  for (const name of services)
    for (const [state, isCurrent] of [
      [before?.services.get(name), false],
      [snapshot.services.get(name), true],
    ] as const)
      for (const port of state?.ports ?? []) {
        if (port.port.protocol !== 'UDP') continue;
        const serving = isCurrent ? port.endpoints.filter(({ isServing }) => isServing) : [];
        for (const key of destinationsOf(port))
          add(
            key,
            serving.map(({ address }) => address),
          );
      }
  return destinations;
}

function destinationsOf({ port }: ServicePortState): string[] {
  const addresses = [port.clusterIp, ...port.externalIps, ...port.loadBalancerVips];
  const keys = addresses.map((address) => joinHostPort(address, port.port));
  return port.nodePort === 0 ? keys : [...keys, `*:${port.nodePort}`];
}

/**
 * Tells the flows that lead to nobody who may answer: the kernel translates a flow by its first packet and would send a client that
 * keeps its source port to a pod that is gone, for as long as it goes on trying.
 * @param localAddresses of the node: a flow to a node port that was never translated counts only when it was for the node itself.
 */
export function createStaleFlowTest(
  destinations: UdpDestinations,
  localAddresses: ReadonlySet<string>,
): (flow: UdpFlow) => boolean {
  return (flow) => {
    const to = joinHostPort(flow.destination, flow.destinationPort);
    const from = joinHostPort(flow.replySource, flow.replySourcePort);
    let endpoints = destinations.get(to);
    if (!endpoints && (from !== to || localAddresses.has(flow.destination)))
      endpoints = destinations.get(`*:${flow.destinationPort}`);
    return endpoints !== undefined && !endpoints.has(from);
  };
}
