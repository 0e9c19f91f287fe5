import { formatPrefix, networkOf, parsePrefix } from '../../../src/linux/ip.ts';
import type { WireguardPeer, WireguardPeerState } from '../../../src/linux/netlink/wireguard-messages.ts';
import { isWireguardKey } from '../../../src/linux/wireguard-key.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { Peer, SelfNode } from '../backend.ts';
import type { WireguardOptions } from './options.ts';

export type Family = 4 | 6;
export const FAMILIES: readonly Family[] = [4, 6];

/** flannel's names. */
export const LINK_NAMES: Record<Family, string> = { 4: 'flannel-wg', 6: 'flannel-wg-v6' };
/** Outer IPv6, UDP and WireGuard headers: the greater of both families, as flanneld takes it. */
const OVERHEAD_BYTES = 80;
const LEAST_MTU: Record<Family, number> = { 4: 68, 6: 1280 };

/** One device of this node. */
export interface DevicePlan {
  name: string;
  listenPort: number;
  /** The families of the pods that it carries. */
  carries: readonly Family[];
  /** The families of the addresses at which others are reached over it, the wanted one first. */
  over: readonly Family[];
}

/** The devices by mode. Pure. @throws ExplainedError when the node has not the addresses that the mode needs. */
export function computeDevices({ name, podCidrs, publicIps }: SelfNode, options: WireguardOptions): DevicePlan[] {
  const carried = FAMILIES.filter((family) => podCidrs[family]);
  const reached = FAMILIES.filter((family) => publicIps[family]);
  const { mode, listenPort, listenPortV6 } = options;
  if (mode === 'separate') {
    const both = carried.filter((family) => reached.includes(family));
    if (both.length === 0)
      throw new ExplainedError(`overlay wireguard: node ${name} has no pod CIDR with an address of the same family`);
    return both.map((family) => ({
      name: LINK_NAMES[family],
      listenPort: family === 4 ? listenPort : listenPortV6,
      carries: [family],
      over: [family],
    }));
  }
  const over = reached.filter((family) => mode === 'auto' || mode === `ipv${family}`);
  if (over.length === 0 || carried.length === 0)
    throw new ExplainedError(`overlay wireguard: node ${name} has no address for Mode ${mode}, or no pod CIDR`);
  return [{ name: LINK_NAMES[4], listenPort, carries: carried, over }];
}

/** What a pod's packet may have. @throws ExplainedError when the uplink carries too little. */
export function computeMtu({ uplink, podCidrs }: SelfNode, options: WireguardOptions): number {
  const mtu = Math.min(options.mtu || uplink.mtu, uplink.mtu) - OVERHEAD_BYTES;
  const least = Math.max(...FAMILIES.filter((family) => podCidrs[family]).map((family) => LEAST_MTU[family]));
  if (mtu < least)
    throw new ExplainedError(
      `overlay wireguard: ${mtu + OVERHEAD_BYTES} bytes of MTU on ${uplink.name} leave ${mtu}, and ${least} are needed`,
    );
  return mtu;
}

/** A node as a peer of one device; undefined when the two share nothing of what the device carries; a reason where they should. Pure. */
export function computePeer(
  device: DevicePlan,
  peer: Peer,
  options: WireguardOptions,
  ownKey?: string,
): WireguardPeer | undefined | { reason: string } {
  if (peer.backendType !== 'wireguard')
    return { reason: `its overlay is ${peer.backendType ?? 'not known'}, not wireguard` };
  const cidrs = device.carries.flatMap((family) => peer.podCidrs[family] ?? []);
  if (cidrs.length === 0) return undefined;
  const overFamily = device.over.find((family) => peer.publicIps[family]);
  if (overFamily === undefined)
    return { reason: `it has no IPv${device.over.join(' or IPv')} address, which ${device.name} goes by` };
  const publicKey = readPublicKey(peer.backendData[device.carries[0]!]) ?? readPublicKey(peer.backendData[overFamily]);
  if (publicKey === undefined) return { reason: 'its annotation has no PublicKey of 32 bytes in base64' };
  // The kernel takes no such peer, and says nothing.
  if (publicKey === ownKey) return { reason: "its public key is this node's own too" };
  return {
    publicKey,
    ...(options.presharedKey !== undefined && { presharedKey: options.presharedKey }),
    // flannel's nodes all listen on the same port.
    endpoint: { address: peer.publicIps[overFamily]!, port: device.listenPort },
    keepaliveSeconds: options.keepaliveSeconds,
    allowedIps: cidrs.map((cidr) => formatPrefix(networkOf(parsePrefix(cidr)))),
  };
}

function readPublicKey(data: unknown): string | undefined {
  const key = typeof data === 'object' && data !== null ? (data as { PublicKey?: unknown }).PublicKey : undefined;
  return isWireguardKey(key) ? key : undefined;
}

/**
 * What turns the kernel's peers into the wanted ones. Pure. Where somebody is reached is written when we wanted something else before, or
 * nothing: a peer behind NAT moves, and the kernel follows its packets; that is not to be undone by each look.
 */
export function diffPeers(
  want: readonly WireguardPeer[],
  have: readonly WireguardPeerState[],
  written: ReadonlyMap<string, WireguardPeer>,
): { put: WireguardPeer[]; remove: string[] } {
  const there = new Map(have.map((peer) => [peer.publicKey, peer]));
  const wanted = new Set(want.map(({ publicKey }) => publicKey));
  const put = want.flatMap((peer) => {
    const current = there.get(peer.publicKey);
    const before = written.get(peer.publicKey)?.endpoint;
    const endpointIsNew = !isSameEndpoint(before, peer.endpoint) && !isSameEndpoint(current?.endpoint, peer.endpoint);
    if (current && !endpointIsNew && isAlike(peer, current)) return [];
    const { endpoint, ...rest } = peer;
    return [!current || endpointIsNew ? { ...rest, endpoint } : rest];
  });
  return { put, remove: have.map(({ publicKey }) => publicKey).filter((key) => !wanted.has(key)) };
}

function isSameEndpoint(one: WireguardPeer['endpoint'], other: WireguardPeer['endpoint']): boolean {
  return one?.address === other?.address && one?.port === other?.port;
}

function isAlike(one: WireguardPeer, other: WireguardPeer): boolean {
  return (
    one.presharedKey === other.presharedKey &&
    one.keepaliveSeconds === other.keepaliveSeconds &&
    [...one.allowedIps].toSorted().join() === [...other.allowedIps].toSorted().join()
  );
}
