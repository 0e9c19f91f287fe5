import type { Node } from '../src/kube/types.ts';
import type { IpFamily } from '../src/netfilter/tables.ts';
import type { ObjectSource } from './feed.ts';
import { addressOfFamily } from './state/addresses.ts';

/** What the rules take from this node's own Node object. */
export interface OwnNode {
  /** Label topology.kubernetes.io/zone; empty when there is none. */
  readonly zone: string;
  readonly podCidrs: readonly string[];
  readonly internalIps: readonly string[];
}

export const UNKNOWN_NODE: OwnNode = { zone: '', podCidrs: [], internalIps: [] };

export function readOwnNode({ metadata, spec, status }: Node): OwnNode {
  return {
    zone: metadata.labels?.['topology.kubernetes.io/zone'] ?? '',
    podCidrs: spec.podCIDRs?.length ? spec.podCIDRs : spec.podCIDR ? [spec.podCIDR] : [],
    internalIps: (status?.addresses ?? []).flatMap(({ type, address }) => (type === 'InternalIP' ? [address] : [])),
  };
}

/** Tells of the own Node: every event, and those that change what rules are made of. @returns unsubscribe */
export function followNode(
  nodes: ObjectSource<Node>,
  nodeName: string,
  on: { seen(node: Node): void; changed(node: OwnNode): void },
): () => void {
  let known = JSON.stringify(UNKNOWN_NODE);
  const take = (node: Node) => {
    if (node.metadata.name !== nodeName) return;
    on.seen(node);
    const now = readOwnNode(node);
    if (JSON.stringify(now) === known) return;
    known = JSON.stringify(now);
    on.changed(now);
  };
  return nodes.subscribe({ added: take, updated: (_old, node) => take(node) });
}

/** The node's addresses of a family: bindAddress where it is one, else the Node's InternalIPs, else loopback. */
export function nodeIpsOf(bindAddress: string, node: OwnNode, family: IpFamily): string[] {
  const bound = addressOfFamily(bindAddress, family);
  if (bound && bound !== '0.0.0.0' && bound !== '::') return [bound];
  const internal = node.internalIps.flatMap((ip) => addressOfFamily(ip, family) ?? []);
  return internal.length > 0 ? internal : [family === 'IPv4' ? '127.0.0.1' : '::1'];
}
