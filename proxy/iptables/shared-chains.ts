import type { IpFamily, TableName } from '../../src/netfilter/tables.ts';
import type { NodeRenderOptions } from '../mode.ts';
import { isLoopback } from '../state/addresses.ts';
import { FIREWALL_JUMPS, JUMPS, type Jump } from './jumps.ts';
import { CHAIN } from './names.ts';
import type { LineChain, ServiceRenderOptions } from './service-rules.ts';
import { comment, matchCounter } from './spelling.ts';

export interface RenderOptions extends NodeRenderOptions, ServiceRenderOptions {
  family: IpFamily;
  hasRandomFully: boolean;
  /** The nfacct counter of packets that conntrack calls INVALID, where they are counted. */
  invalidPacketCounter?: string;
}

/** A chain that is there whatever the services, with its table and rules. */
export interface SharedChain {
  table: TableName;
  name: string;
  rules: readonly string[];
}

/** The chains to which services add their lines. */
export const LINE_CHAINS: readonly LineChain[] = [
  'filter KUBE-SERVICES',
  'filter KUBE-EXTERNAL-SERVICES',
  'filter KUBE-NODEPORTS',
  'filter KUBE-PROXY-FIREWALL',
  'nat KUBE-SERVICES',
  'nat KUBE-NODEPORTS',
];

/** The tables that hold something of ours: each has a canary, by whose absence a flush is noticed. */
export const TABLES: readonly TableName[] = ['mangle', 'filter', 'nat'];

/** Chains that say nothing of any service. */
export function buildFixedChains(options: RenderOptions): SharedChain[] {
  return [
    ...TABLES.map((table) => ({ table, name: CHAIN.canary, rules: [] })),
    { table: 'filter', name: CHAIN.forward, rules: forwardRules(options) },
    ...(guardsLocalhost(options) ? [{ table: 'filter', name: CHAIN.firewall, rules: [LOCALNET_GUARD] } as const] : []),
    { table: 'nat', name: CHAIN.markMasq, rules: [`-j MARK --set-xmark ${bothWays(options)}`] },
    { table: 'nat', name: CHAIN.postrouting, rules: postroutingRules(options) },
  ];
}

/** The whole chain, from all services' lines in their order. */
export function buildLineChain(chain: LineChain, lines: string[], options: RenderOptions): SharedChain {
  const [table, name] = chain.split(' ') as [TableName, string];
  if (chain !== 'nat KUBE-SERVICES') return { table, name, rules: lines };
  return { table, name, rules: [...inLoadingOrder(lines, options), ...nodePortJumps(options)] };
}

/**
 * iptables-restore of the nft kind keeps the chains that a transaction names in a sorted list, through which it walks at each name: in random
 * order the 10,000 jumps of a large cluster cost it 25 million comparisons, from the last name to the first one each. No packet sees the
 * difference, since no two of the lines match the same packet. Small clusters keep the order of names, which people read.
 */
function inLoadingOrder(lines: string[], { isLargeCluster }: RenderOptions): string[] {
  if (!isLargeCluster) return lines;
  const targetOf = (line: string) => line.slice(line.lastIndexOf(' ') + 1);
  return lines
    .map((line) => [targetOf(line), line] as const)
    .sort(([a], [b]) => (a < b ? 1 : a > b ? -1 : 0))
    .map(([, line]) => line);
}

export function jumpsOf(options: RenderOptions): readonly Jump[] {
  return guardsLocalhost(options) ? [...JUMPS, ...FIREWALL_JUMPS] : JUMPS;
}

function guardsLocalhost({ family, localhostNodePorts }: RenderOptions): boolean {
  return family === 'IPv4' && localhostNodePorts;
}

/**
 * route_localnet, which NodePorts on 127.0.0.1 need, would let neighbours send packets to this host's loopback
 * addresses (CVE-2020-8558): whatever comes for 127/8 from elsewhere without having been sent there by us is dropped.
 */
const LOCALNET_GUARD = `! -s 127.0.0.0/8 -d 127.0.0.0/8 ${comment('block incoming localnet connections')} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP`;

function hexMark({ masqueradeMark }: RenderOptions): string {
  return `0x${masqueradeMark.toString(16)}`;
}

function bothWays(options: RenderOptions): string {
  return `${hexMark(options)}/${hexMark(options)}`;
}

function postroutingRules(options: RenderOptions): string[] {
  return [
    `-m mark ! --mark ${bothWays(options)} -j RETURN`,
    // Cleared, lest the packet is masqueraded again when it comes past a second time.
    `-j MARK --set-xmark ${hexMark(options)}/0x0`,
    `${comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE${options.hasRandomFully ? ' --random-fully' : ''}`,
  ];
}

function forwardRules(options: RenderOptions): string[] {
  const count = options.invalidPacketCounter ? `${matchCounter(options.invalidPacketCounter)} ` : '';
  return [
    // Late or out-of-window packets would reach the client un-translated, and its reset would end a good connection.
    ...(options.conntrackTcpBeLiberal ? [] : [`-m conntrack --ctstate INVALID ${count}-j DROP`]),
    `${comment('kubernetes forwarding rules')} -m mark --mark ${bothWays(options)} -j ACCEPT`,
    `${comment('kubernetes forwarding conntrack rule')} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
  ];
}

/** The rules that end the nat table's KUBE-SERVICES. */
export function nodePortJumps(options: RenderOptions): string[] {
  const about = comment('kubernetes service nodeports; NOTE: this must be the last rule in this chain');
  const takesLoopback = guardsLocalhost(options);
  if (options.nodePortAddresses)
    return options.nodePortAddresses
      .filter((address) => takesLoopback || !isLoopback(address))
      .map((address) => `-d ${address}/${address.includes(':') ? 128 : 32} ${about} -j ${CHAIN.nodePorts}`);
  const loopback = options.family === 'IPv6' ? '::1/128' : '127.0.0.0/8';
  const except = takesLoopback ? '' : `! -d ${loopback} `;
  return [`${except}${about} -m addrtype --dst-type LOCAL -j ${CHAIN.nodePorts}`];
}
