/**
 * Host ports as nf_tables rules: the table and the pods' chains are those of the reference plugin's nftables backend.
 *
 *     prerouting_late, output_late: to a local address → hostports_all → hostip_hostports (of one address), hostports (of all)
 *     masquerading: a pod that reaches itself through the node, and the node's own 127.0.0.1
 *
 * **Behind Services, whatever comes first in time (CVE-2019-9946).** The kernel runs chains of equal priority newest first, and the
 * reference plugin's `prerouting` and `output` stand at -100 beside the Services' rules: there a host port would take what goes to a
 * NodePort of the same number. Ours stand behind. They have names of their own, since the kernel keeps a chain's priority: the reference
 * plugin, back on this host, can add its chains beside them.
 *
 * **Only what is for an address of the node (CVE-2025-67499)**: with a `hostIP` too, which would else take the traffic that merely passes.
 *
 * Each container's rules come before those that stand: who comes last gets the port, also from one whose DEL is still to come. Rules carry the
 * container's id as comment, as the reference plugin's do, and the network as their owner.
 */
import { createHash } from 'node:crypto';
import type { Chain, Family, Rule, Statement } from '../../src/netfilter/nfnetlink/rule.ts';
import { ruleText } from '../../src/netfilter/nfnetlink/rule-text.ts';
import { isForLocalhost, mappingsOf, onlyAddressOf, type PodAddress, type PortmapConfig } from './mapping.ts';

export const HOSTPORT_TABLE = 'cni_hostport';
export const TABLE_COMMENT = 'CNI portmap plugin';

/** Behind destination NAT (-100), where Services are. */
const BEHIND_SERVICES = -95;
const SRCNAT = 100;

/** The chains that hold containers' rules; the others lead there. */
export const POD_CHAINS: ReadonlySet<string> = new Set(['hostports', 'hostip_hostports', 'masquerading']);
/** Of the reference plugin, at a Service's priority; ours take their place. */
export const REFERENCE_HOOKS = ['prerouting', 'output'] as const;

/** Beside the reference plugin's matches: `isForLocalhost` tells why. */
const FROM_NODE: Statement = { kind: 'local-address', field: 'saddr' };

const toLocal: Rule = {
  statements: [
    { kind: 'local-address', field: 'daddr' },
    { kind: 'jump', chain: 'hostports_all' },
  ],
};

/** The chains that every container's rules need, with what stands in them for all. In an order in which they can be made. */
export const SKELETON: readonly Chain[] = [
  { name: 'hostports', rules: [] },
  { name: 'hostip_hostports', rules: [] },
  {
    name: 'hostports_all',
    rules: ['hostip_hostports', 'hostports'].map((chain) => ({ statements: [{ kind: 'jump', chain }] })),
  },
  { name: 'prerouting_late', base: { type: 'nat', hook: 'prerouting', priority: BEHIND_SERVICES }, rules: [toLocal] },
  { name: 'output_late', base: { type: 'nat', hook: 'output', priority: BEHIND_SERVICES }, rules: [toLocal] },
  { name: 'masquerading', base: { type: 'nat', hook: 'postrouting', priority: SRCNAT }, rules: [] },
];

export interface PodRule {
  chain: 'hostports' | 'hostip_hostports' | 'masquerading';
  /** Matches in nft's words that we have no statement for: such a rule can be written by nft only. */
  conditions: readonly string[];
  rule: Rule;
}

/** Which network's a rule is, in few bytes whatever the name. */
export function ownerOf(network: string): string {
  return createHash('sha256').update(network).digest('hex').slice(0, 16);
}

/** A container's rules for one of its addresses; none when no mapping is of its family. Pure. */
export function buildPodRules(config: PortmapConfig, containerId: string, pod: PodAddress): PodRule[] {
  const mappings = mappingsOf(config.mappings, pod.family);
  if (mappings.length === 0) return [];
  const marks = { comment: containerId, owner: ownerOf(config.network) };
  const condition = parseConditions(config.conditions[pod.family]);
  const statements = condition ?? [];
  const conditions = condition ? [] : config.conditions[pod.family];
  const forwards = mappings.map((mapping): PodRule => {
    const { protocol, hostPort, containerPort } = mapping;
    const only = onlyAddressOf(mapping);
    return {
      chain: only === undefined ? 'hostports' : 'hostip_hostports',
      conditions,
      rule: {
        ...marks,
        statements: [
          ...statements,
          ...(only === undefined ? [] : [{ kind: 'address', field: 'daddr', cidr: only } as const]),
          ...(isForLocalhost(mapping) ? [FROM_NODE] : []),
          { kind: 'destination-port', protocol, port: hostPort },
          { kind: 'dnat', address: pod.address, port: containerPort },
        ],
      },
    };
  });
  const to: Statement = { kind: 'address', field: 'daddr', cidr: pod.address };
  const masquerade = (...from: Statement[]): PodRule => ({
    chain: 'masquerading',
    conditions: [],
    rule: { ...marks, statements: [...from, to, { kind: 'masquerade' }] },
  });
  return [...forwards, ...sources(config, pod).map((from) => masquerade(from))];
}

/** As the reference plugin has it. Pure. */
export function withoutOurs({ statements, ...rule }: Rule): Rule {
  return { ...rule, statements: statements.filter((statement) => statement !== FROM_NODE) };
}

/** Whose connections to the pod get the node's address as source. */
function sources({ snat, masqAll }: PortmapConfig, { family, address }: PodAddress): Statement[] {
  if (!snat) return [];
  // All that was translated, not all that goes there: who reaches the pod by its own address is seen as who it is.
  if (masqAll) return [{ kind: 'connection-translated' }];
  const from = (cidr: string): Statement => ({ kind: 'address', field: 'saddr', cidr });
  return [from(address), ...(family === 'IPv4' ? [from('127.0.0.1')] : [])];
}

/** `ip daddr != 10.96.0.0/12`, `iifname "eth0"` and the like as statements, so that no program is needed; undefined for anything else. */
function parseConditions(tokens: readonly string[]): Statement[] | undefined {
  const statements: Statement[] = [];
  const rest = tokens.flatMap((token) => token.trim().split(/\s+/)).filter(Boolean);
  while (rest.length > 0) {
    const [first, field] = rest;
    const isInterface = first === 'iifname';
    if (!isInterface && !(/^ip6?$/.test(first!) && (field === 'saddr' || field === 'daddr'))) return undefined;
    rest.splice(0, isInterface ? 1 : 2);
    const isNegated = rest[0] === '!=' && rest.shift() !== undefined;
    const value = rest.shift() ?? '';
    if (isInterface && /^"?[^\s"{*]+"?$/.test(value))
      statements.push({ kind: 'in-interface', name: value.replaceAll('"', ''), isNegated });
    else if (!isInterface && /^[0-9a-f:.]+(\/\d+)?$/i.test(value))
      statements.push({ kind: 'address', field: field as 'saddr' | 'daddr', cidr: value, isNegated });
    else return undefined;
  }
  return statements;
}

/** The transaction for nft that adds rules whose conditions only nft understands. Pure. */
export function renderRules(family: Family, rules: readonly PodRule[]): string {
  const line = ({ chain, conditions, rule }: PodRule) =>
    `insert rule ${family} ${HOSTPORT_TABLE} ${chain} ${[...conditions, ruleText(rule, family)].join(' ')}\n`;
  return rules.map(line).join('');
}
