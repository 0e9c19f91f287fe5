import type { Iptables } from '../../src/netfilter/iptables.ts';
import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { IpFamily, SavedTable, SavedTables, TableName } from '../../src/netfilter/tables.ts';
import { isEmptyTransaction, renderTransaction, type TableChanges, targetOf } from '../../src/netfilter/transaction.ts';

const BUILT_IN: Record<TableName, string[]> = {
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  raw: ['PREROUTING', 'OUTPUT'],
  security: ['INPUT', 'FORWARD', 'OUTPUT'],
};

export interface FakeIptables extends Iptables {
  /** Every text that a restore got, in order. */
  readonly restored: string[];
  /** Makes the next restore fail, before it changes anything. */
  failNext(error: Error): void;
  /** Empties a table, as another program's `iptables -F; iptables -X` does. */
  flush(table: TableName): void;
}

/** iptables that holds tables in memory and refuses what the real one refuses. */
export function createFakeIptables(family: IpFamily = 'IPv4', variant: 'nft' | 'legacy' = 'nft'): FakeIptables {
  const tables: SavedTables = new Map();
  const restored: string[] = [];
  let failure: Error | undefined;

  const tableOf = (name: TableName): SavedTable => {
    const known = tables.get(name);
    if (known) return known;
    const made: SavedTable = new Map(BUILT_IN[name].map((chain) => [chain, { policy: 'ACCEPT', rules: [] }]));
    tables.set(name, made);
    return made;
  };

  return {
    family,
    restored,
    failNext(error) {
      failure = error;
    },
    flush(table) {
      tables.delete(table);
    },
    async save(table) {
      return structuredClone(table ? new Map([[table, tableOf(table)]]) : tables);
    },
    async chainExists(table, chain) {
      return tables.get(table)?.has(chain) ?? false;
    },
    hasRandomFully: async () => true,
    variant: async () => variant,
    async restore(changes) {
      const transaction: TableChanges[] = [];
      for await (const section of changes) transaction.push(section);
      if (isEmptyTransaction(transaction)) return false;
      restored.push(renderTransaction(transaction));
      if (failure) {
        const error = failure;
        failure = undefined;
        throw error;
      }
      for (const { table, chains, commands } of transaction) {
        const next = structuredClone(tableOf(table));
        for (const chain of chains) {
          if (chain.length > 28) throw new Error(`iptables-restore: chain name \`${chain}' too long`);
          next.set(chain, { policy: next.get(chain)?.policy, rules: [] });
        }
        for (const command of commands) runCommand(next, command);
        checkTargets(next);
        tables.set(table, next);
      }
      return true;
    },
  };
}

function runCommand(table: SavedTable, command: string): void {
  const [, verb, name, rest = ''] = /^-([AIDX]) (\S+) ?(.*)$/.exec(command) ?? [];
  const chain = name === undefined ? undefined : table.get(name);
  if (!chain || name === undefined) throw new Error(`iptables-restore: no chain for ${command}`);
  if (verb === 'A') chain.rules.push(rest);
  else if (verb === 'I') chain.rules.unshift(rest);
  else if (verb === 'D') {
    const at = chain.rules.findIndex((rule) => canonicalRule(rule) === canonicalRule(rest));
    if (at < 0) throw new Error(`iptables-restore: Bad rule (does a matching rule exist in that chain?): ${command}`);
    chain.rules.splice(at, 1);
  } else {
    const users = [...table.values()].some(({ rules }) => rules.some((rule) => targetOf(rule) === name));
    if (users || chain.rules.length > 0)
      throw new Error(`iptables-restore: CHAIN_DEL failed (Device or resource busy): ${name}`);
    table.delete(name);
  }
}

const TARGETS = new Set(['ACCEPT', 'DROP', 'RETURN', 'REJECT', 'MARK', 'MASQUERADE', 'DNAT', 'SNAT', 'LOG']);

function checkTargets(table: SavedTable): void {
  for (const { rules } of table.values())
    for (const rule of rules) {
      const target = targetOf(rule);
      if (target && !TARGETS.has(target) && !table.has(target))
        throw new Error(`iptables-restore: Couldn't load target \`${target}'`);
    }
}
