import { formatIp, networkOf, parseIp, parsePrefix } from '../../../src/linux/ip.ts';
import type { Peer, SelfNode } from '../backend.ts';
import type { MoverRoute } from './mover-protocol.ts';

/** Where a peer's packets go, or why nowhere. Pure; neither for one that has no pods of IPv4. */
export function computePeer(peer: Peer, self: Pick<SelfNode, 'publicIps'>): { route?: MoverRoute; reason?: string } {
  const podCidr = peer.podCidrs[4];
  const destination = peer.publicIps[4];
  if (!podCidr) return peer.podCidrs[6] ? { reason: 'its pods have IPv6 alone, and backend udp IPv4' } : {};
  // flanneld's says nothing of its backend.
  if (peer.backendType !== 'udp' && peer.backendType !== '' && peer.backendType !== undefined)
    return { reason: `its backend is ${peer.backendType}, ours udp` };
  if (!destination) return { reason: 'it has no public IPv4 address' };
  if (destination === self.publicIps[4]) return { reason: `its address ${destination} is this node's own` };
  const { address, prefixLength } = networkOf(parsePrefix(podCidr));
  return { route: { network: address, prefixLength, destination: parseIp(destination) } };
}

export function networkKey({ network, prefixLength }: MoverRoute): string {
  return `${formatIp(network)}/${prefixLength}`;
}

export function isSameNetwork(one: MoverRoute, other: MoverRoute): boolean {
  return networkKey(one) === networkKey(other);
}

export function isEqual(one: MoverRoute, other: MoverRoute): boolean {
  return isSameNetwork(one, other) && formatIp(one.destination) === formatIp(other.destination);
}
