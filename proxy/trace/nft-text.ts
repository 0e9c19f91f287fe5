import type { IpFamily } from '../../src/netfilter/tables.ts';
import { runAtOnce } from '../../src/runtime/slices.ts';
import { type NftElements, NO_ELEMENTS, readElements } from './nft-elements.ts';
import { readNftRule } from './nft-rule.ts';
import { TokenReader, tokenizeNft } from './nft-tokens.ts';
import type { BaseChain, Hook, Rule, Ruleset } from './ruleset.ts';

/** Priorities that have names (nft(8)). */
const PRIORITIES: Record<string, number> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};
const HOOKS: readonly string[] = ['prerouting', 'input', 'forward', 'output', 'postrouting'] satisfies Hook[];

interface Table {
  /** Lines of each chain, rules only. */
  chains: Map<string, string[]>;
  /** Text of each set and map: the braces of its elements. */
  sets: Map<string, string>;
}

/** Reads tables as `nft list` prints them; those of other families are left out. */
export function readNft(family: IpFamily, text: string): Ruleset {
  return runAtOnce(readNftSteps(family, text));
}

/** As readNft, in steps of some lines: 10,000 services are megabytes. Chains and sets are read when a packet comes to them. */
export function* readNftSteps(family: IpFamily, text: string): Generator<void, Ruleset> {
  const wanted = [family === 'IPv4' ? 'ip' : 'ip6', 'inet'];
  const tables = new Map<string, Table>();
  const baseChains: BaseChain[] = [];
  let count = 0;
  let table: Table | undefined;
  let tableName = '';
  let block: { kind: string; name: string; lines: string[] } | undefined;
  for (const line of linesOf(text)) {
    if (++count % LINES_A_STEP === 0) yield;
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    if (block) {
      // A block's own brace is alone in its line, one tab in; a set's elements have theirs further in, or behind text.
      if (!/^(\t| {2,4})?\}$/.test(line)) block.lines.push(trimmed);
      else {
        if (table) closeBlock(block, table, tableName, baseChains);
        block = undefined;
      }
      continue;
    }
    const head = /^(table|chain|set|map|flowtable|ct \w+|counter|quota|limit|secmark|synproxy) (.*?) ?\{$/.exec(
      trimmed,
    );
    if (head?.[1] === 'table') {
      tableName = head[2]!;
      table = wanted.includes(tableName.split(' ')[0]!) ? { chains: new Map(), sets: new Map() } : undefined;
      if (table) tables.set(tableName, table);
    } else if (head) block = { kind: head[1]!, name: head[2]!, lines: [] };
  }
  return rulesetOf(family, tables, baseChains);
}

const LINES_A_STEP = 500;

function* linesOf(text: string): Generator<string> {
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    yield text.slice(start, end);
    start = end + 1;
  }
}

function closeBlock(
  { kind, name, lines }: { kind: string; name: string; lines: string[] },
  table: Table,
  tableName: string,
  baseChains: BaseChain[],
): void {
  if (kind === 'set' || kind === 'map') {
    const text = lines.join('\n');
    const at = text.indexOf('elements = {');
    table.sets.set(name, at < 0 ? '{ }' : text.slice(at + 'elements = '.length));
  }
  if (kind !== 'chain') return;
  const rules: string[] = [];
  for (const line of joinBraces(lines)) {
    const base = /^type (\w+) hook (\w+)(?: device \S+)? priority ([^;]+);(?: policy (\w+);)?/.exec(line);
    if (!base) {
      if (!/^(comment|policy) /.test(line)) rules.push(line);
    } else if (HOOKS.includes(base[2]!))
      baseChains.push({
        table: tableName,
        chain: name,
        hook: base[2] as Hook,
        priority: readPriority(base[3]!),
        kind: base[1] === 'nat' ? 'nat' : 'filter',
        policy: base[4] === 'drop' ? 'DROP' : 'ACCEPT',
      });
  }
  table.chains.set(name, rules);
}

/** A set that stands in a rule may take several lines. */
function joinBraces(lines: readonly string[]): string[] {
  const joined: string[] = [];
  let depth = 0;
  for (const line of lines) {
    if (depth > 0) joined.push(`${joined.pop()} ${line}`);
    else joined.push(line);
    const bare = line.replaceAll(/"[^"]*"/g, '');
    depth += bare.split('{').length - bare.split('}').length;
  }
  return joined;
}

/** `-110`, `filter`, `dstnat - 10`. */
function readPriority(text: string): number {
  const [first = '', sign, offset = '0'] = text.trim().split(/\s+/);
  return (PRIORITIES[first] ?? Number(first)) + (sign === '-' ? -Number(offset) : Number(offset));
}

function rulesetOf(family: IpFamily, tables: ReadonlyMap<string, Table>, baseChains: readonly BaseChain[]): Ruleset {
  const knownRules = new Map<string, readonly Rule[]>();
  const knownSets = new Map<string, NftElements>();
  const setsOf = (table: string) => (name: string) => {
    const key = `${table} ${name}`;
    const text = tables.get(table)?.sets.get(name);
    if (text === undefined) return undefined;
    const read = knownSets.get(key) ?? readSetText(text, name);
    knownSets.set(key, read);
    return read;
  };
  return {
    family,
    baseChains,
    rules(table, chain) {
      const key = `${table} ${chain}`;
      const read =
        knownRules.get(key) ??
        tables
          .get(table)
          ?.chains.get(chain)
          ?.map((text) => ({ text, steps: readNftRule(tokenizeNft(text), setsOf(table)) }));
      if (read) knownRules.set(key, read);
      return read;
    },
  };
}

function readSetText(text: string, name: string): NftElements {
  return text === '{ }' ? { ...NO_ELEMENTS } : readElements(new TokenReader(tokenizeNft(text)), name);
}
