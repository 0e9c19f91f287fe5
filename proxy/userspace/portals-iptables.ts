import { createIptables, type Run } from '../../src/netfilter/iptables.ts';
import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { IpFamily, SavedTables, TableName } from '../../src/netfilter/tables.ts';
import { buildChainRemoval, type IptablesTransaction } from '../../src/netfilter/transaction.ts';
import { matchLocal } from '../local-detector.ts';
import { joinHostPort } from '../state/addresses.ts';
import type { PortalTable } from './portal-table.ts';
import type { Portal, PortalFirewall, PortalSet } from './portals.ts';

/** The first four are kube-proxy's own names of its days in userspace. */
const CHAIN = {
  container: 'KUBE-PORTALS-CONTAINER',
  host: 'KUBE-PORTALS-HOST',
  nodePortContainer: 'KUBE-NODEPORT-CONTAINER',
  nodePortHost: 'KUBE-NODEPORT-HOST',
  firewall: 'KUBE-PORTALS-FIREWALL',
  filter: 'KUBE-PORTALS-FILTER',
} as const;
const PROBE = 'KUBE-PORTALS-PROBE';
const OWN = new Set<string>([...Object.values(CHAIN), PROBE]);
const TABLES: readonly TableName[] = ['mangle', 'nat', 'filter'];

/** One chain of each table, by which the whole is known. */
const CANARIES: readonly (readonly [table: TableName, chain: string])[] = [
  ['nat', CHAIN.container],
  ['filter', CHAIN.filter],
  ['mangle', CHAIN.firewall],
];

const NODE_PORTS =
  '-m addrtype --dst-type LOCAL -m comment --comment "handle service NodePorts; NOTE: this must be the last rule in the chain"';
const PORTALS = '-m comment --comment "handle ClusterIPs; NOTE: this must be before the NodePort rules"';

/** Jumps, each at the end of its chain, in this order. */
const JUMPS: readonly (readonly [table: TableName, from: string, rule: string])[] = [
  ['mangle', 'PREROUTING', `-j ${CHAIN.firewall}`],
  ['mangle', 'OUTPUT', `-j ${CHAIN.firewall}`],
  ['nat', 'PREROUTING', `${PORTALS} -j ${CHAIN.container}`],
  ['nat', 'PREROUTING', `${NODE_PORTS} -j ${CHAIN.nodePortContainer}`],
  ['nat', 'OUTPUT', `${PORTALS} -j ${CHAIN.host}`],
  ['nat', 'OUTPUT', `${NODE_PORTS} -j ${CHAIN.nodePortHost}`],
  ['filter', 'INPUT', `-j ${CHAIN.filter}`],
  ['filter', 'FORWARD', `-j ${CHAIN.filter}`],
  ['filter', 'OUTPUT', `-j ${CHAIN.filter}`],
];

/** The portals in chains of iptables, rewritten as a whole in one run of iptables-restore. */
export function createIptablesPortals(family: IpFamily, options: { run: Run; netns?: string }): PortalTable {
  const iptables = createIptables({ family, ...options });
  const hasAny = async () => {
    for (const [table, chain] of [...CANARIES, ...TABLES.map((table) => [table, PROBE] as const)])
      if (await iptables.chainExists(table, chain)) return true;
    return false;
  };
  return {
    kind: 'iptables',
    async probe() {
      const to = family === 'IPv4' ? '127.0.0.1:1' : '[::1]:1';
      const rule = `-A ${PROBE} -p tcp -m tcp --dport 1 -j DNAT --to-destination ${to}`;
      await iptables.restore([{ table: 'nat', chains: [PROBE], commands: [rule, `-F ${PROBE}`, `-X ${PROBE}`] }]);
    },
    async apply(set, signal) {
      await iptables.restore(renderIptables(set, await iptables.save(undefined, signal)));
    },
    async stands(signal) {
      for (const [table, chain] of CANARIES) if (!(await iptables.chainExists(table, chain, signal))) return false;
      return true;
    },
    async remove() {
      // Every start of another mode asks for it; beside that one's 60,000 rules a look at all of them takes seconds and 25 MB.
      if (!(await hasAny())) return;
      const saved = await iptables.save();
      await iptables.restore(
        TABLES.map((table) => buildChainRemoval(table, saved.get(table) ?? new Map(), (chain) => OWN.has(chain))),
      );
    },
  };
}

/** The transaction that makes the kernel's tables hold the portals. Pure. */
export function renderIptables(set: PortalSet, saved: SavedTables): IptablesTransaction {
  const chains: Record<(typeof CHAIN)[keyof typeof CHAIN], string[]> = {
    [CHAIN.container]: nat(set, 'prerouting', (portal) => portal.address !== undefined),
    [CHAIN.host]: nat(set, 'output', (portal) => portal.address !== undefined),
    [CHAIN.nodePortContainer]: nat(set, 'prerouting', (portal) => portal.address === undefined),
    [CHAIN.nodePortHost]: nat(set, 'output', (portal) => portal.address === undefined),
    [CHAIN.firewall]: set.firewalls.flatMap(firewallRules),
    [CHAIN.filter]: [...guardRules(set), ...set.portals.flatMap((portal) => endRules(set, portal))],
  };
  const chainsOf: Record<string, readonly (keyof typeof chains)[]> = {
    mangle: [CHAIN.firewall],
    nat: [CHAIN.container, CHAIN.host, CHAIN.nodePortContainer, CHAIN.nodePortHost],
    filter: [CHAIN.filter],
  };
  return TABLES.map((table) => {
    const own = chainsOf[table] ?? [];
    const jumps = JUMPS.filter(([of, from, rule]) => of === table && !hasRule(saved, table, from, rule));
    return {
      table,
      chains: [...own],
      commands: [
        ...own.flatMap((chain) => chains[chain].map((rule) => `-A ${chain} ${rule}`)),
        ...jumps.map(([, from, rule]) => `-A ${from} ${rule}`),
      ],
    };
  });
}

function hasRule(saved: SavedTables, table: TableName, chain: string, rule: string): boolean {
  const meaning = canonicalRule(rule);
  return (saved.get(table)?.get(chain)?.rules ?? []).some((other) => canonicalRule(other) === meaning);
}

function nat(set: PortalSet, hook: 'prerouting' | 'output', isWanted: (portal: Portal) => boolean): string[] {
  return set.portals.flatMap((portal) => {
    if (typeof portal.action === 'string' || !isWanted(portal)) return [];
    if (portal.from !== 'all' && (portal.from === 'node') !== (hook === 'output')) return [];
    const from = portal.from === 'pods' ? matchLocal(set.localDetector, true) : '';
    if (from === undefined) return [];
    const to = `-j DNAT --to-destination ${joinHostPort(set.relayAddress, portal.action)}`;
    return matchDestinations(set, portal).map((match) => [from, match, to].filter(Boolean).join(' '));
  });
}

function endRules(set: PortalSet, portal: Portal): string[] {
  if (typeof portal.action === 'number' || portal.from !== 'all') return [];
  const target = portal.action === 'reject' ? 'REJECT' : 'DROP';
  const local = portal.address === undefined ? '-m addrtype --dst-type LOCAL ' : '';
  return matchDestinations(set, portal).map((match) => `-m conntrack --ctstate NEW ${local}${match} -j ${target}`);
}

function firewallRules({ service, protocol, address, port, ranges, admitsNode }: PortalFirewall): string[] {
  const match = `-d ${address} -p ${protocol} -m ${protocol} --dport ${port} -m comment --comment "${service}"`;
  return [
    ...ranges.map((range) => `-s ${range} ${match} -j RETURN`),
    ...(admitsNode ? [`-m addrtype --src-type LOCAL ${match} -j RETURN`] : []),
    `${match} -j DROP`,
  ];
}

/** The relays themselves are for portals only: straight to them nobody comes past a firewall. */
function guardRules({ relayPorts, relayAddress }: PortalSet): string[] {
  return relayPorts.map(
    ({ protocol, port }) =>
      `-d ${relayAddress} -p ${protocol} -m ${protocol} --dport ${port} -m conntrack --ctstate NEW -m conntrack ! --ctstate DNAT -j REJECT`,
  );
}

/** One match for each address, since a rule of iptables has one. */
function matchDestinations(set: PortalSet, { address, protocol, port, service }: Portal): string[] {
  const match = `-p ${protocol} -m ${protocol} --dport ${port} -m comment --comment "${service}"`;
  if (address) return [`-d ${address} ${match}`];
  if (set.nodePortAddresses) return set.nodePortAddresses.map((one) => `-d ${one} ${match}`);
  const loopback = set.family === 'IPv4' ? '127.0.0.0/8' : '::1/128';
  return [`${set.takesLoopback ? '' : `! -d ${loopback} `}${match}`];
}
