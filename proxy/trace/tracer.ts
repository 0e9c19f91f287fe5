import ipaddr from 'ipaddr.js';
import { parseRule, type RuleOption } from '../../src/netfilter/rule.ts';
import type { SavedTable, SavedTables, TableName } from '../../src/netfilter/tables.ts';
import { cidrContains } from '../state/addresses.ts';
import type { Protocol } from '../state/model.ts';

/** The first packet of a connection. */
export interface Packet {
  protocol: Protocol;
  source: string;
  destination: string;
  destinationPort: number;
  /** The interface it comes in by; absent for a packet of the node's own. */
  inInterface?: string;
}

export interface TraceHost {
  /** Addresses of the node, beside loopback. */
  localAddresses: readonly string[];
  /** `-m recent` lists (by name) that hold the packet's source. */
  remembered?: readonly string[];
}

/** One way that the packet may go. Random choices make several of them. */
export interface TraceOutcome {
  verdict: 'ACCEPT' | 'DROP' | 'REJECT';
  /** `ip:port` after DNAT; the packet's own when there was none. */
  destination: string;
  /** Whether its source becomes an address of the node. */
  isMasqueraded: boolean;
  /** 0…1, of the random choices on the way. */
  probability: number;
  /** The rules that matched, in order, as `table CHAIN rule`. */
  path: readonly string[];
}

interface State {
  packet: Packet;
  mark: number;
  isTranslated: boolean;
  isMasqueraded: boolean;
  probability: number;
  path: readonly string[];
}

/** Where a chain's walk ended: a verdict of the hook, or undefined when it ran off the chain's end or returned. */
interface Walk {
  state: State;
  verdict?: 'ACCEPT' | 'DROP' | 'REJECT';
}

/** Leads a packet through iptables rules (as iptables-save shows them) the way the kernel does, along every branch that chance may take. */
export function tracePacket(tables: SavedTables, packet: Packet, host: TraceHost): TraceOutcome[] {
  const isLocal = (address: string) => isLocalAddress(address, host);
  const start: State = { packet, mark: 0, isTranslated: false, isMasqueraded: false, probability: 1, path: [] };
  const pass = (walks: Walk[], table: TableName, chainOf: (state: State) => string | undefined): Walk[] =>
    walks.flatMap((walk) => {
      const chain = walk.verdict === 'DROP' || walk.verdict === 'REJECT' ? undefined : chainOf(walk.state);
      return chain ? walkHook(tables.get(table) ?? new Map(), table, chain, walk.state, host) : [walk];
    });
  const isOwn = packet.inInterface === undefined;
  let walks: Walk[] = [{ state: start }];
  walks = pass(walks, 'nat', () => (isOwn ? 'OUTPUT' : 'PREROUTING'));
  walks = pass(walks, 'filter', (state) =>
    isOwn ? 'OUTPUT' : isLocal(state.packet.destination) ? 'INPUT' : 'FORWARD',
  );
  walks = pass(walks, 'nat', (state) => (isOwn || !isLocal(state.packet.destination) ? 'POSTROUTING' : undefined));
  return walks.map(({ state, verdict }) => ({
    verdict: verdict ?? 'ACCEPT',
    destination: joinDestination(state.packet),
    isMasqueraded: state.isMasqueraded,
    probability: state.probability,
    path: state.path,
  }));
}

/** A built-in chain: where the walk decides nothing, the policy does. */
function walkHook(table: SavedTable, name: TableName, chain: string, state: State, host: TraceHost): Walk[] {
  const policy = table.get(chain)?.policy === 'DROP' ? 'DROP' : 'ACCEPT';
  return walkChain(table, name, chain, 0, state, host).map((walk) => ({ ...walk, verdict: walk.verdict ?? policy }));
}

function walkChain(
  table: SavedTable,
  name: TableName,
  chain: string,
  from: number,
  state: State,
  host: TraceHost,
): Walk[] {
  const rules = table.get(chain)?.rules ?? [];
  for (let index = from; index < rules.length; index++) {
    const options = parseRule(rules[index]!);
    const chance = matchChance(options, state, host);
    if (chance === 0) continue;
    const hit = {
      ...state,
      probability: state.probability * chance,
      path: [...state.path, `${name} ${chain} ${rules[index]}`],
    };
    const otherwise =
      chance === 1
        ? []
        : walkChain(table, name, chain, index + 1, { ...state, probability: state.probability * (1 - chance) }, host);
    const applied = applyTarget(table, name, options, hit, host).flatMap((walk) =>
      walk === RETURNED || walk.verdict ? [walk] : walkChain(table, name, chain, index + 1, walk.state, host),
    );
    return [...applied.map((walk) => (walk === RETURNED ? { state: hit } : walk)), ...otherwise];
  }
  return [{ state }];
}

/** The rule was `-j RETURN`: the chain ends here, without a verdict. */
const RETURNED: Walk = { state: {} as State };

function applyTarget(table: SavedTable, name: TableName, options: RuleOption[], state: State, host: TraceHost): Walk[] {
  const value = (option: string) => options.find((one) => one.name === option)?.values[0];
  const target = value('-j');
  switch (target) {
    case undefined:
      return [{ state }];
    case 'ACCEPT':
    case 'DROP':
    case 'REJECT':
      return [{ state, verdict: target }];
    case 'RETURN':
      return [RETURNED];
    case 'MARK':
      return [{ state: { ...state, mark: changeMark(state.mark, options) } }];
    case 'MASQUERADE':
      return [{ state: { ...state, isMasqueraded: true }, verdict: 'ACCEPT' }];
    case 'DNAT': {
      const [, destination, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(value('--to-destination') ?? '') ?? [];
      const packet = { ...state.packet, destination: destination!, destinationPort: Number(port) };
      return [{ state: { ...state, packet, isTranslated: true }, verdict: 'ACCEPT' }];
    }
    default:
      if (!table.has(target)) throw new Error(`the rules name the target ${target}, which the tracer does not know`);
      return walkChain(table, name, target, 0, state, host);
  }
}

function changeMark(mark: number, options: RuleOption[]): number {
  for (const { name, values } of options) {
    const [bits, mask] = (values[0] ?? '').split('/').map(Number);
    if (name === '--or-mark') return mark | bits!;
    if (name === '--xor-mark') return mark ^ bits!;
    if (name === '--set-xmark') return (mark & ~(mask ?? 0xffffffff)) ^ bits!;
  }
  return mark;
}

/** 0, 1, or what `-m statistic` says in between. */
function matchChance(options: RuleOption[], state: State, host: TraceHost): number {
  let chance = 1;
  for (const option of options) {
    if (option.name === '--probability') chance = Number(option.values[0]);
    else if (matches(option, options, state, host) === option.negated) return 0;
  }
  return chance;
}

function matches(
  { name, values }: RuleOption,
  options: RuleOption[],
  state: State,
  host: TraceHost,
): boolean | undefined {
  const { packet } = state;
  const value = values[0] ?? '';
  switch (name) {
    case '-s':
      return cidrContains(asCidr(value), packet.source);
    case '-d':
      return cidrContains(asCidr(value), packet.destination);
    case '-p':
      return value === packet.protocol.toLowerCase();
    case '--dport':
      return Number(value) === packet.destinationPort;
    case '-i':
      return value.endsWith('+')
        ? (packet.inInterface ?? '').startsWith(value.slice(0, -1))
        : packet.inInterface === value;
    case '--mark': {
      const [mark, mask] = value.split('/').map(Number);
      return (state.mark & (mask ?? 0xffffffff)) === mark;
    }
    case '--dst-type':
      return isLocalAddress(packet.destination, host);
    case '--src-type':
      return isLocalAddress(packet.source, host);
    case '--ctstate':
      return value.split(',').some((one) => one === 'NEW' || (one === 'DNAT' && state.isTranslated));
    case '--rcheck':
      return host.remembered?.includes(options.find((one) => one.name === '--name')?.values[0] ?? '') ?? false;
    default:
      // Not a match (comments, targets and their arguments), or one that always holds here: passes as it is.
      return undefined;
  }
}

function asCidr(value: string): string {
  return value.includes('/') ? value : `${value}/${value.includes(':') ? 128 : 32}`;
}

function isLocalAddress(address: string, host: TraceHost): boolean {
  return host.localAddresses.includes(address) || ipaddr.parse(address).range() === 'loopback';
}

function joinDestination({ destination, destinationPort }: Packet): string {
  return destination.includes(':') ? `[${destination}]:${destinationPort}` : `${destination}:${destinationPort}`;
}
