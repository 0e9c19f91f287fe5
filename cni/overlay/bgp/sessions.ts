import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import {
  formatIp,
  formatPrefix,
  ipFamily,
  networkOf,
  parseIp,
  parsePrefix,
  prefixesOverlap,
} from '../../../src/linux/ip.ts';
import type { Peer, PerFamily, SelfNode } from '../backend.ts';
import { type BgpOptions, isAsNumber, isClusterId } from './options.ts';

export type Family = 4 | 6;
export const FAMILIES: readonly Family[] = [4, 6];

/** One TCP session of BIRD's, which carries the routes of its own address family. */
export interface BgpSession {
  /** BIRD's name of it. */
  protocol: string;
  family: Family;
  /** For people: the node's name, or the router's address. */
  description: string;
  neighbour: string;
  asNumber: number;
  /** Networks that the neighbour may announce, subnets of them too; `pods`: any node's, since it passes on what others announce. */
  accepts: readonly string[] | 'pods';
  /** We pass on to it what others announce, and the other way round (RFC 4456). */
  isReflectorClient: boolean;
  /** Of another AS that leads from our AS back into it: a router between racks. */
  isBetweenOwn: boolean;
}

/** What a node tells the others about its part: `backend-data` and `backend-v6-data`. */
export interface BgpData {
  ASNumber: number;
  RouteReflectorClusterID?: string;
}

export function buildBgpData({ asNumber, routeReflectorClusterId }: BgpOptions): BgpData {
  return { ASNumber: asNumber, ...(routeReflectorClusterId && { RouteReflectorClusterID: routeReflectorClusterId }) };
}

/** Whether another node passes on routes: it says so itself. */
export function isReflector({ backendData }: Peer): boolean {
  return FAMILIES.some((family) => isClusterId(readData(backendData[family]).RouteReflectorClusterID));
}

/**
 * The sessions with another node, one per address family that both have. Pure.
 * Of n nodes a mesh makes n − 1 sessions on each; with r reflectors it is r on a node and n − 1 on a reflector.
 */
export function computeNodeSessions(
  self: SelfNode,
  peer: Peer,
  options: BgpOptions,
  cluster: { hasReflectors: boolean },
): BgpSession[] | { reason: string } {
  const { node, backendType } = peer;
  if (backendType !== 'bgp') return { reason: `its overlay is ${backendType ?? 'not known'}, not bgp` };
  const sessions: BgpSession[] = [];
  for (const family of FAMILIES) {
    const [own, address, cidr] = [self.podCidrs[family], peer.publicIps[family], peer.podCidrs[family]];
    if (own === undefined || self.publicIps[family] === undefined || address === undefined || cidr === undefined)
      continue;
    const accepted = readCidr(cidr, family);
    if (accepted === undefined || isIP(address) !== family)
      return { reason: `its pod CIDR ${cidr} or its address ${address} is malformed` };
    if (prefixesOverlap(parsePrefix(accepted), parsePrefix(own)))
      return { reason: `its pod CIDR ${accepted} overlaps with ${own} of this node` };
    const neighbour = formatIp(parseIp(address));
    if (neighbour === self.publicIps[family]) return { reason: `its address ${neighbour} is an address of this node` };
    const data = readData(peer.backendData[family]);
    if (!isAsNumber(data.ASNumber ?? options.asNumber))
      return { reason: `its annotation says ASNumber ${JSON.stringify(data.ASNumber)}` };
    const reflects = isClusterId(data.RouteReflectorClusterID);
    if (!isWanted(reflects, options, cluster)) continue;
    const asNumber = data.ASNumber ?? options.asNumber;
    sessions.push({
      protocol: protocolName('node', family, node),
      family,
      description: node,
      neighbour,
      asNumber,
      accepts: reflects ? 'pods' : [accepted],
      // Between ASs routes are passed on without it.
      isReflectorClient: options.routeReflectorClusterId !== undefined && !reflects && asNumber === options.asNumber,
      isBetweenOwn: false,
    });
  }
  return sessions;
}

function isWanted(peerReflects: boolean, options: BgpOptions, { hasReflectors }: { hasReflectors: boolean }): boolean {
  if (peerReflects || options.routeReflectorClusterId !== undefined || options.nodeMesh === 'on') return true;
  return options.nodeMesh === 'auto' && !hasReflectors;
}

/** The sessions with routers that are no nodes. Those of a family that this node lacks are left out. Pure. */
export function computeRouterSessions(self: SelfNode, options: BgpOptions): BgpSession[] {
  return options.routers.flatMap(({ address, asNumber }) => {
    const family = ipFamily(address);
    if (self.podCidrs[family] === undefined || self.publicIps[family] === undefined) return [];
    return {
      protocol: protocolName('router', family, address),
      family,
      description: address,
      neighbour: address,
      asNumber,
      accepts: 'pods',
      isReflectorClient: false,
      isBetweenOwn: asNumber !== options.asNumber,
    };
  });
}

/** Pod CIDRs of a family, of all nodes that have well-formed ones, sorted: what may be announced at all. */
export function listPodNetworks(self: SelfNode, peers: Iterable<Peer>, family: Family): string[] {
  const found = new Set<string>();
  for (const { podCidrs } of [self, ...peers] as { podCidrs: PerFamily<string> }[]) {
    const cidr = podCidrs[family] && readCidr(podCidrs[family], family);
    if (cidr) found.add(cidr);
  }
  return [...found].toSorted();
}

/** In the form that BIRD takes (no host bits); undefined for what is none of the family. */
export function readCidr(text: string, family: Family): string | undefined {
  try {
    const prefix = networkOf(parsePrefix(text));
    return prefix.family === family ? formatPrefix(prefix) : undefined;
  } catch {
    return undefined;
  }
}

/** BIRD's names are short and have no dots: a digest stands for the node. */
function protocolName(kind: 'node' | 'router', family: Family, name: string): string {
  return `${kind}${family}_${createHash('sha256').update(name).digest('hex').slice(0, 16)}`;
}

function readData(data: unknown): Partial<BgpData> {
  return typeof data === 'object' && data !== null ? (data as Partial<BgpData>) : {};
}
