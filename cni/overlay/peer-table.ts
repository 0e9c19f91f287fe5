/**
 * The other nodes as the overlay sees them, kept from Node objects as they come and go. Nodes change every few seconds (heartbeats); only
 * what an overlay reads counts as a change. Cost of one: its own parsing, and a look-up whether its pod CIDRs are anybody's yet; all nodes
 * are looked at again only when its own CIDRs clash, or others want what it had.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Node } from '../../src/kube/types.ts';
import { parseIp, parsePrefix, prefixContains, prefixesOverlap } from '../../src/linux/ip.ts';
import { type AnnotationKeys, parsePeer } from './annotations.ts';
import type { Peer, PerFamily } from './backend.ts';
import { createPrefixClaims, describeClash } from './prefix-claims.ts';

export interface PeerTable {
  /** The nodes that a backend is given. */
  readonly peers: ReadonlyMap<string, Peer>;
  /** Why other nodes are not among them. */
  skipped(): { node: string; reason: string }[];
  /** A node came or changed. @returns names of nodes that are now other peers, or none any more. */
  put(node: Node): Set<string>;
  remove(name: string): Set<string>;
  /** What is this node's own: its pod CIDRs and the subnets of its uplink, which no other node's pods may take away. */
  setOwn(own: { podCidrs: PerFamily<string>; uplinkSubnets: readonly string[] }): Set<string>;
}

interface Candidate {
  peer?: Peer;
  /** Why it is no peer, as far as its object alone says. */
  problem?: string;
  /** Who was there first keeps its pods: the creation's time, then the name. */
  age: string;
}

const FAMILIES = [4, 6] as const;
const PROBLEM_LIMIT_CHARS = 250;

export function createPeerTable(options: {
  self: string;
  backendType: string;
  keys: AnnotationKeys;
  /** All pods of the cluster: another node's are among them, or a route to it would take what is none of its business. */
  networks: PerFamily<string>;
}): PeerTable {
  const { self, backendType, keys, networks } = options;
  const candidates = new Map<string, Candidate>();
  const peers = new Map<string, Peer>();
  const clashes = new Map<string, string>();
  let claims = createPrefixClaims();
  let own: Parameters<PeerTable['setOwn']>[0] = { podCidrs: {}, uplinkSubnets: [] };

  function parse(node: Node): Candidate {
    const age = `${node.metadata.creationTimestamp} ${node.metadata.name}`;
    try {
      const peer = parsePeer(node, keys);
      return { age, peer, problem: peer && problemOf(peer) };
    } catch (error) {
      // An address that is none is quoted in it, whatever its length.
      return { age, problem: (error as Error).message.slice(0, PROBLEM_LIMIT_CHARS) };
    }
  }

  function problemOf({ backendType: type, podCidrs, publicIps }: Peer): string | undefined {
    if (type !== undefined && type !== backendType) return `it has the backend ${type}, this node ${backendType}`;
    for (const family of FAMILIES) {
      const [cidr, ip, network] = [podCidrs[family], publicIps[family], networks[family]];
      if (cidr && network && !prefixContains(parsePrefix(network), parsePrefix(cidr)))
        return `its pod CIDR ${cidr} is not within ${network}, the pods' network of this node`;
      if (cidr && ip && prefixContains(parsePrefix(cidr), parseIp(ip)))
        return `its address ${ip} lies within its own pod CIDR ${cidr}`;
    }
    return undefined;
  }

  /** A LAN as wide as 10.0.0.0/8 may have a part for pods: no node's share of it takes the wire away. */
  const isApart = (subnet: string) =>
    !FAMILIES.some((family) => {
      const network = networks[family] === undefined ? undefined : parsePrefix(networks[family]);
      const wire = parsePrefix(subnet);
      return network && wire.prefixLength < network.prefixLength && prefixContains(wire, network);
    });

  const prefixesOf = (peer: Peer) =>
    FAMILIES.flatMap((family) => (peer.podCidrs[family] ? [{ text: peer.podCidrs[family], family }] : []));

  function findClash(name: string, peer: Peer): string | undefined {
    for (const { text } of prefixesOf(peer)) {
      const clash = claims.clashOf(`node ${name}`, parsePrefix(text));
      if (clash) return describeClash(text, clash);
    }
    return undefined;
  }

  function admit(name: string, peer: Peer): void {
    for (const { text } of prefixesOf(peer)) claims.add(`node ${name}`, parsePrefix(text));
    peers.set(name, peer);
  }

  function dismiss(name: string): void {
    const peer = peers.get(name);
    for (const { text } of peer ? prefixesOf(peer) : []) claims.remove(`node ${name}`, parsePrefix(text));
    peers.delete(name);
    clashes.delete(name);
  }

  /** Everything anew, the oldest first: who may have what when CIDRs clash. */
  function rebuild(): void {
    claims = createPrefixClaims();
    for (const cidr of Object.values(own.podCidrs)) claims.add('this node', parsePrefix(cidr));
    for (const subnet of own.uplinkSubnets.filter(isApart)) claims.add("this node's uplink", parsePrefix(subnet));
    peers.clear();
    clashes.clear();
    for (const [name, { peer, problem }] of [...candidates].toSorted(([, one], [, other]) =>
      one.age < other.age ? -1 : 1,
    )) {
      if (!peer || problem) continue;
      const clash = findClash(name, peer);
      if (clash) clashes.set(name, clash);
      else admit(name, peer);
    }
  }

  /** Whether a node that waits for its pods may have them, or another one, now that these were or are a node's. */
  function concernsClashes(name: string, involved: readonly (Peer | undefined)[]): boolean {
    if (clashes.size === 0) return false;
    if (clashes.has(name)) return true;
    const prefixes = involved.flatMap((peer) => (peer ? prefixesOf(peer) : [])).map(({ text }) => parsePrefix(text));
    const waiting = [...clashes.keys()].flatMap((node) => prefixesOf(candidates.get(node)!.peer!));
    return waiting.some(({ text }) => prefixes.some((one) => prefixesOverlap(one, parsePrefix(text))));
  }

  /** Does what `change` does and tells whose state differs then. */
  function compare(change: () => void): Set<string> {
    const before = new Map(peers);
    change();
    const names = new Set([...before.keys(), ...peers.keys()]);
    return new Set([...names].filter((name) => !isDeepStrictEqual(before.get(name), peers.get(name))));
  }

  function set(name: string, candidate: Candidate | undefined): Set<string> {
    const before = candidates.get(name);
    if (candidate && before && isDeepStrictEqual(before, candidate)) return new Set();
    if (candidate) candidates.set(name, candidate);
    else candidates.delete(name);
    const peer = candidate?.problem ? undefined : candidate?.peer;
    if (concernsClashes(name, [before?.peer, peer]) || (peer && findClash(name, peer))) return compare(rebuild);
    const old = peers.get(name);
    dismiss(name);
    if (peer) admit(name, peer);
    return new Set(isDeepStrictEqual(old, peer) ? [] : [name]);
  }

  return {
    peers,
    put: (node) => (node.metadata.name === self ? new Set() : set(node.metadata.name, parse(node))),
    remove: (name) => (name === self ? new Set() : set(name, undefined)),
    setOwn(now) {
      if (isDeepStrictEqual(now, own)) return new Set();
      own = now;
      return compare(rebuild);
    },
    skipped: () => [
      ...[...candidates].flatMap(([node, { problem }]) => (problem ? [{ node, reason: problem }] : [])),
      ...[...clashes].map(([node, reason]) => ({ node, reason })),
    ],
  };
}
