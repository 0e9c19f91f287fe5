import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { SavedTable, SavedTables, TableName } from '../../src/netfilter/tables.ts';
import type { IptablesTransaction, TableChanges } from '../../src/netfilter/transaction.ts';
import { runAtOnce } from '../../src/runtime/slices.ts';
import type { Jump } from './jumps.ts';
import { isServiceChain } from './names.ts';
import type { RuleSet } from './rule-set.ts';

const TABLES: readonly TableName[] = ['mangle', 'filter', 'nat'];

/**
 * The transaction from what we have written before to what is wanted now (a partial sync). Only the chains of dirty
 * services are compared one by one, and the few shared ones: a chain whose text has not changed is not written.
 */
export function diffRuleSets(applied: RuleSet, wanted: RuleSet, dirty: ReadonlySet<string>): IptablesTransaction {
  return TABLES.map((table) => {
    const changes = emptyChanges(table);
    const before = applied.shared.get(table);
    for (const [chain, rules] of wanted.shared.get(table) ?? [])
      if (!sameRules(before?.get(chain), rules)) writeChain(changes, chain, rules);
    if (table === 'nat') {
      const old = chainsOf(applied, dirty);
      const next = chainsOf(wanted, dirty);
      for (const [chain, rules] of next) if (!sameRules(old.get(chain), rules)) writeChain(changes, chain, rules);
      for (const chain of old.keys()) if (!next.has(chain)) removeChain(changes, chain);
    }
    return changes;
  });
}

/**
 * The transaction from what the kernel holds to what is wanted (a full sync): jumps that are missing, chains that differ,
 * service chains that nobody wants any more. When the kernel holds it all, the transaction is empty. In steps of a chain.
 */
export function* diffSavedTables(saved: SavedTables, wanted: RuleSet): Generator<void, IptablesTransaction> {
  const transaction: TableChanges[] = [];
  for (const table of TABLES) {
    const changes = emptyChanges(table);
    transaction.push(changes);
    const existing: SavedTable = saved.get(table) ?? new Map();
    const wantedChains = wantedChainsOf(wanted, table);
    for (const [chain, rules] of wantedChains) {
      if (!(yield* sameMeaning(existing.get(chain)?.rules, rules))) writeChain(changes, chain, rules);
      yield;
    }
    for (const jump of wanted.jumps) if (jump.table === table) ensureJump(changes, jump, existing);
    if (table === 'nat')
      for (const chain of existing.keys())
        if (isServiceChain(chain) && !wantedChains.has(chain)) removeChain(changes, chain);
  }
  return transaction;
}

/** The rule set as one transaction on tables that hold nothing of ours. */
export function buildFullTransaction(wanted: RuleSet): IptablesTransaction {
  return runAtOnce(diffSavedTables(new Map(), wanted));
}

function wantedChainsOf(wanted: RuleSet, table: TableName): Map<string, readonly string[]> {
  const shared = wanted.shared.get(table) ?? [];
  return new Map(table === 'nat' ? [...shared, ...chainsOf(wanted, wanted.services.keys())] : shared);
}

function ensureJump(changes: TableChanges, { from, rule }: Jump, existing: SavedTable): void {
  const target = rule.slice(rule.lastIndexOf('-j'));
  const meaning = canonicalRule(rule);
  const present = existing.get(from)?.rules ?? [];
  if (!present.some((other) => other.endsWith(target) && canonicalRule(other) === meaning))
    changes.commands.push(`-I ${from} ${rule}`);
}

function emptyChanges(table: TableName): TableChanges {
  return { table, chains: [], commands: [] };
}

function writeChain(changes: TableChanges, chain: string, rules: readonly string[]): void {
  changes.chains.push(chain);
  for (const rule of rules) changes.commands.push(`-A ${chain} ${rule}`);
}

/** A chain line empties the chain; by the time of -X, at the end, nothing leads to it any more. */
function removeChain(changes: TableChanges, chain: string): void {
  changes.chains.push(chain);
  changes.commands.push(`-X ${chain}`);
}

function chainsOf(ruleSet: RuleSet, services: Iterable<string>): Map<string, readonly string[]> {
  const chains = new Map<string, readonly string[]>();
  for (const name of services)
    for (const port of ruleSet.services.get(name) ?? [])
      for (const [chain, rules] of port.chains) chains.set(chain, rules);
  return chains;
}

function sameRules(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a !== undefined && a.length === b.length && a.every((rule, index) => rule === b[index]);
}

/** As sameRules, for rules that came back from iptables-save in another spelling; in steps, since KUBE-SERVICES is long. */
function* sameMeaning(saved: readonly string[] | undefined, rules: readonly string[]): Generator<void, boolean> {
  if (saved?.length !== rules.length) return false;
  for (const [index, rule] of rules.entries()) {
    if (canonicalRule(saved[index]!) !== canonicalRule(rule)) return false;
    if (index % RULES_A_STEP === RULES_A_STEP - 1) yield;
  }
  return true;
}

const RULES_A_STEP = 50;
