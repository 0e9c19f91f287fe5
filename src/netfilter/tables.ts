import { runAtOnce } from '../runtime/slices.ts';

export type IpFamily = 'IPv4' | 'IPv6';
export type TableName = 'filter' | 'nat' | 'mangle' | 'raw' | 'security';

/** A chain as iptables-save shows it. */
export interface SavedChain {
  /** ACCEPT or DROP on a built-in chain; undefined on a user's own. */
  policy?: string;
  /** Rules in order, each without its `-A CHAIN` and without counters. */
  rules: string[];
}

export type SavedTable = Map<string, SavedChain>;
export type SavedTables = Map<TableName, SavedTable>;

/**
 * Reads the output of iptables-save (any version, with or without `-c`).
 * @throws Error that quotes the line which makes no sense.
 */
export function parseIptablesSave(text: string): SavedTables {
  return runAtOnce(parseIptablesSaveSteps(text));
}

/** As parseIptablesSave, in steps: a big node's rules are 100,000 lines. */
export function* parseIptablesSaveSteps(text: string): Generator<void, SavedTables> {
  const tables: SavedTables = new Map();
  let table: SavedTable | undefined;
  for (let start = 0, count = 1; start < text.length; count++) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(start, end);
    start = end + 1;
    if (count % LINES_A_STEP === 0) yield;
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith('*')) {
      table = new Map();
      tables.set(line.slice(1).trim() as TableName, table);
    } else if (line === 'COMMIT') table = undefined;
    else if (!table || !readLine(table, line))
      throw new Error(`iptables-save: cannot read the line ${JSON.stringify(line)}`);
  }
  return tables;
}

const LINES_A_STEP = 500;

function readLine(table: SavedTable, line: string): boolean {
  const chain = /^:(\S+) (\S+)/.exec(line);
  if (chain) {
    table.set(chain[1]!, { policy: chain[2] === '-' ? undefined : chain[2], rules: [] });
    return true;
  }
  const rule = /^(?:\[\d+:\d+\] )?-A (\S+) ?(.*)$/.exec(line);
  const owner = rule && table.get(rule[1]!);
  if (!owner) return false;
  owner.rules.push(rule[2]!);
  return true;
}
