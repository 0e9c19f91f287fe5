import type { TableName } from '../../src/netfilter/tables.ts';
import { CHAIN } from './names.ts';

/** A rule in a built-in chain that leads into one of ours. */
export interface Jump {
  table: TableName;
  from: string;
  /** Without `-A CHAIN`. */
  rule: string;
}

const NEW_CONNECTION = '-m conntrack --ctstate NEW';

/** In the order in which they are put at the top of their chains: the last of a chain ends up first. */
export const JUMPS: readonly Jump[] = [
  ...jumps('filter', ['INPUT', 'FORWARD'], CHAIN.externalServices, {
    match: NEW_CONNECTION,
    comment: 'kubernetes externally-visible service portals',
  }),
  ...jumps('filter', ['INPUT'], CHAIN.nodePorts, { comment: 'kubernetes health check service ports' }),
  ...jumps('filter', ['FORWARD', 'OUTPUT'], CHAIN.services, {
    match: NEW_CONNECTION,
    comment: 'kubernetes service portals',
  }),
  ...jumps('filter', ['FORWARD'], CHAIN.forward, { comment: 'kubernetes forwarding rules' }),
  ...jumps('filter', ['INPUT', 'OUTPUT', 'FORWARD'], CHAIN.proxyFirewall, {
    match: NEW_CONNECTION,
    comment: 'kubernetes load balancer firewall',
  }),
  ...jumps('nat', ['OUTPUT', 'PREROUTING'], CHAIN.services, { comment: 'kubernetes service portals' }),
  ...jumps('nat', ['POSTROUTING'], CHAIN.postrouting, { comment: 'kubernetes postrouting rules' }),
];

/** Shared with the kubelet, and there only while localhost NodePorts need their guard. */
export const FIREWALL_JUMPS: readonly Jump[] = jumps('filter', ['INPUT', 'OUTPUT'], CHAIN.firewall, {});

function jumps(
  table: TableName,
  chains: readonly string[],
  target: string,
  { match, comment }: { match?: string; comment?: string },
): Jump[] {
  const rule = [match, comment && `-m comment --comment "${comment}"`, `-j ${target}`].filter(Boolean).join(' ');
  return chains.map((from) => ({ table, from, rule }));
}
