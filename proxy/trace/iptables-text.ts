import { parseRule, type RuleOption } from '../../src/netfilter/rule.ts';
import type { IpFamily, SavedTables, TableName } from '../../src/netfilter/tables.ts';
import { addressPattern, createElements, interfacePattern, portPattern } from './elements.ts';
import type { BaseChain, Elements, Expression, Field, Hook, Pattern, Rule, Ruleset, Step, Verdict } from './ruleset.ts';

/** A set of ipset, as rules look into it. */
export interface IpsetElements {
  /** `hash:ip,port`, …: what its parts are. */
  type: string;
  elements: Elements<unknown>;
}

const HOOKS: Record<string, Hook> = {
  PREROUTING: 'prerouting',
  INPUT: 'input',
  FORWARD: 'forward',
  OUTPUT: 'output',
  POSTROUTING: 'postrouting',
};

/** NF_IP_PRI_*; nat has another at the hooks that translate sources. */
const PRIORITIES: Record<TableName, number> = { raw: -300, mangle: -150, nat: -100, filter: 0, security: 50 };
const NAT_SOURCE_PRIORITY = 100;

/** Reads rules as iptables-save shows them. */
export function readIptables(
  family: IpFamily,
  tables: SavedTables,
  ipsets: ReadonlyMap<string, IpsetElements> = new Map(),
): Ruleset {
  const baseChains: BaseChain[] = [];
  for (const [table, chains] of tables)
    for (const [chain, hook] of Object.entries(HOOKS)) {
      if (!chains.has(chain)) continue;
      const isSource = table === 'nat' && (hook === 'postrouting' || hook === 'input');
      baseChains.push({
        table,
        chain,
        hook,
        priority: isSource ? NAT_SOURCE_PRIORITY : PRIORITIES[table],
        kind: table === 'nat' ? 'nat' : 'filter',
        policy: chains.get(chain)?.policy === 'DROP' ? 'DROP' : 'ACCEPT',
      });
    }
  const known = new Map<string, readonly Rule[]>();
  return {
    family,
    baseChains,
    rules(table, chain) {
      const key = `${table} ${chain}`;
      const read = known.get(key);
      if (read) return read;
      const lines = tables.get(table as TableName)?.get(chain)?.rules;
      const rules = lines?.map((text) => ({ text, steps: readRule(text, ipsets) }));
      if (rules) known.set(key, rules);
      return rules;
    },
  };
}

/** Matches first, chance last: all of them must hold, and so the fewest ways open. */
function readRule(text: string, ipsets: ReadonlyMap<string, IpsetElements>): Step[] {
  const options = parseRule(text);
  const matches: Step[] = [];
  const late: Step[] = [];
  for (const option of options) {
    const step = readMatch(option, options, ipsets);
    if (step) (step.kind === 'chance' || step.kind === 'unknown' ? late : matches).push(step);
  }
  return [...matches, ...late, ...readTarget(options)];
}

function readMatch(
  { name, values, negated }: RuleOption,
  options: readonly RuleOption[],
  ipsets: ReadonlyMap<string, IpsetElements>,
): Step | undefined {
  const value = values[0] ?? '';
  const match = (field: Field, ...patterns: Pattern[]): Step => ({
    kind: 'match',
    key: [{ kind: 'field', field }],
    elements: createElements(patterns.map((pattern) => [[pattern], true] as const)),
    negated,
  });
  switch (name) {
    case '-s':
      return match('source', ...value.split(',').map(addressPattern));
    case '-d':
      return match('destination', ...value.split(',').map(addressPattern));
    case '-p':
      return value === 'all' ? undefined : match('protocol', value);
    case '-i':
      return match('inInterface', interfacePattern(value, '+'));
    case '-o':
      return match('outInterface', interfacePattern(value, '+'));
    case '--dport':
    case '--dports':
      return match('destinationPort', ...value.split(',').map(portPattern));
    case '--src-range':
      return match('source', addressPattern(value));
    case '--dst-range':
      return match('destination', addressPattern(value));
    case '--src-type':
      return match('sourceType', value.toLowerCase());
    case '--dst-type':
      return match('destinationType', value.toLowerCase());
    case '--ctorigdst':
      return match('originalDestination', addressPattern(value));
    case '--ctorigdstport':
      return match('originalDestinationPort', portPattern(value));
    // The virtual server that IPVS has taken the packet for: where it was sent to.
    case '--vaddr':
      return match('originalDestination', addressPattern(value));
    case '--vport':
      return match('originalDestinationPort', portPattern(value));
    case '--vproto':
      return match('protocol', PROTOCOL_NAMES[value] ?? value);
    case '--mark':
      return { kind: 'match', ...readMark(value), negated };
    case '--ctstate':
    case '--ctstatus':
      return { kind: 'connection', states: value.toLowerCase().split(','), negated };
    case '--probability':
      return { kind: 'chance', probability: Number(value) };
    case '--rcheck':
    case '--update':
      return { kind: 'remembered', list: argumentOf(options, '--name') ?? 'DEFAULT', negated };
    case '--match-set':
      return readMatchSet(values, negated, ipsets);
    case '-m':
      return KNOWN_MODULES.has(value) ? undefined : { kind: 'unknown', text: `-m ${value}` };
    default:
      return undefined;
  }
}

const PROTOCOL_NAMES: Record<string, string> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

/** Modules whose options are read above or say nothing about a first packet. */
const KNOWN_MODULES = new Set(
  'addrtype comment conntrack state statistic recent mark tcp udp sctp multiport iprange set nfacct ipvs'.split(' '),
);

function readMark(text: string): { key: Expression[]; elements: Elements<unknown> } {
  const [value, mask = 0xffffffff] = text.split('/').map(Number);
  const of: Expression = { kind: 'field', field: 'mark' };
  return {
    key: [{ kind: 'bits', of, and: mask, xor: 0 }],
    elements: createElements([[[String(value! >>> 0)], true]]),
  };
}

/** `--match-set NAME dst,dst,src`: each direction gives one part of the key; a port's part has the protocol in front of it. */
function readMatchSet(values: readonly string[], negated: boolean, ipsets: ReadonlyMap<string, IpsetElements>): Step {
  const [name = '', directions = ''] = values;
  const set = ipsets.get(name);
  const text = `--match-set ${name} ${directions}`;
  if (!set) return { kind: 'unknown', text };
  const key: Expression[] = [];
  const parts = set.type.slice(set.type.indexOf(':') + 1).split(',');
  for (const [index, direction] of directions.split(',').entries()) {
    const isSource = direction === 'src';
    if (parts[index] === 'port') {
      if (!set.type.startsWith('bitmap')) key.push({ kind: 'field', field: 'protocol' });
      key.push({ kind: 'field', field: isSource ? 'sourcePort' : 'destinationPort' });
    } else if (parts[index] === 'ip' || parts[index] === 'net')
      key.push({ kind: 'field', field: isSource ? 'source' : 'destination' });
    else return { kind: 'unknown', text: `${text} (${set.type})` };
  }
  return { kind: 'match', key, elements: set.elements, negated };
}

function readTarget(options: readonly RuleOption[]): Step[] {
  const remember: Step[] = options.some(({ name }) => name === '--set')
    ? [{ kind: 'remember', list: argumentOf(options, '--name') ?? 'DEFAULT' }]
    : [];
  const goto = argumentOf(options, '-g');
  if (goto) return [...remember, verdict({ kind: 'goto', chain: goto })];
  const target = argumentOf(options, '-j');
  return target === undefined ? [...remember, { kind: 'note' }] : [...remember, readJump(target, options)];
}

/** Targets that let the packet go on. */
const PASSING_TARGETS = new Set(
  'LOG NFLOG TRACE CT NOTRACK TCPMSS CHECKSUM CLASSIFY CONNMARK SET TTL TOS DSCP'.split(' '),
);
const OTHER_TARGETS = new Set('NFQUEUE QUEUE TPROXY NETMAP CLUSTERIP TEE'.split(' '));

function readJump(target: string, options: readonly RuleOption[]): Step {
  switch (target) {
    case 'ACCEPT':
    case 'DROP':
    case 'REJECT':
    case 'RETURN':
      return verdict({ kind: target });
    case 'MARK':
      return { kind: 'mark', value: readMarkChange(options) };
    case 'MASQUERADE':
      return { kind: 'masquerade' };
    case 'SNAT':
      return { kind: 'snat', address: splitDestination(argumentOf(options, '--to-source') ?? '').address };
    case 'DNAT':
      return {
        kind: 'dnat',
        targets: [{ ...splitDestination(argumentOf(options, '--to-destination') ?? ''), weight: 1 }],
      };
    case 'REDIRECT':
      return { kind: 'redirect', port: Number(argumentOf(options, '--to-ports')) };
    default:
      if (PASSING_TARGETS.has(target)) return { kind: 'note' };
      if (OTHER_TARGETS.has(target)) return { kind: 'unknown', text: `-j ${target}` };
      return verdict({ kind: 'jump', chain: target });
  }
}

function readMarkChange(options: readonly RuleOption[]): Expression {
  const of: Expression = { kind: 'field', field: 'mark' };
  for (const { name, values } of options) {
    const [bits = 0, mask = 0xffffffff] = (values[0] ?? '').split('/').map(Number);
    if (name === '--or-mark') return { kind: 'bits', of, and: ~bits, xor: bits };
    if (name === '--and-mark') return { kind: 'bits', of, and: bits, xor: 0 };
    if (name === '--xor-mark') return { kind: 'bits', of, and: 0xffffffff, xor: bits };
    if (name === '--set-xmark') return { kind: 'bits', of, and: ~mask, xor: bits };
    if (name === '--set-mark') return { kind: 'bits', of, and: ~(mask | bits), xor: bits };
  }
  return of;
}

/** `10.0.0.1:80`, `[fd00::1]:80`, `10.0.0.1`. */
function splitDestination(text: string): { address: string; port?: number } {
  const [, v6, v4, port] = /^(?:\[(.+)\]|([\d.]+)):(\d+)$/.exec(text) ?? [];
  return port === undefined ? { address: text } : { address: v6 ?? v4!, port: Number(port) };
}

function verdict(verdict: Verdict): Step {
  return { kind: 'verdict', verdict };
}

function argumentOf(options: readonly RuleOption[], name: string): string | undefined {
  return options.find((option) => option.name === name)?.values[0];
}
