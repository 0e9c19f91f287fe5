import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { SavedTables } from '../../src/netfilter/tables.ts';
import type { IptablesTransaction, TableChanges } from '../../src/netfilter/transaction.ts';
import { buildModeRemoval } from '../chain-removal.ts';
import type { Jump } from '../iptables/jumps.ts';
import { CHAINS, FORMER_CHAIN, type IpvsChains, JUMPS } from './chains.ts';

/** The transaction that makes the kernel's tables hold these chains and the jumps to them; empty when they do. */
export function diffTables(saved: SavedTables, wanted: IpvsChains): IptablesTransaction {
  return [...wanted].map(([table, chains]) => {
    const changes: TableChanges = { table, chains: [], commands: [] };
    const existing = saved.get(table);
    for (const [chain, rules] of chains)
      if (!sameMeaning(existing?.get(chain)?.rules, rules)) writeChain(changes, chain, rules);
    if (table === 'nat' && existing?.has(FORMER_CHAIN)) {
      changes.chains.push(FORMER_CHAIN);
      changes.commands.push(`-X ${FORMER_CHAIN}`);
    }
    for (const jump of JUMPS) {
      if (jump.table !== table) continue;
      const present = existing?.get(jump.from)?.rules ?? [];
      const meaning = canonicalRule(jump.rule);
      if (!present.some((rule) => rule.includes('KUBE-') && canonicalRule(rule) === meaning))
        changes.commands.push(`-I ${jump.from} ${jump.rule}`);
    }
    return changes;
  });
}

/** The transaction from chains that stand to others. */
export function diffChains(standing: IpvsChains, wanted: IpvsChains): IptablesTransaction {
  return [...wanted].map(([table, chains]) => {
    const changes: TableChanges = { table, chains: [], commands: [] };
    const before = standing.get(table);
    for (const [chain, rules] of chains) {
      const old = before?.get(chain);
      if (old?.length !== rules.length || rules.some((rule, index) => rule !== old[index]))
        writeChain(changes, chain, rules);
    }
    return changes;
  });
}

/** The transaction that removes this mode's chains, the jumps to them, and rules elsewhere that name its sets. */
export function buildIpvsRemoval(
  saved: SavedTables,
  isOwnSet: (name: string) => boolean,
  successorJumps?: readonly Jump[],
): IptablesTransaction {
  return (['filter', 'nat'] as const).map((table) =>
    buildModeRemoval({
      table,
      saved: saved.get(table) ?? new Map(),
      isOwn: (chain) => CHAINS[table].includes(chain) || (table === 'nat' && chain === FORMER_CHAIN),
      jumps: JUMPS,
      successorJumps,
      isForeignBody: (rule) => isOwnSet(/--match-set (\S+)/.exec(rule)?.[1] ?? ''),
    }),
  );
}

export function countRules(chains: ReadonlyMap<string, readonly string[]> | undefined): number {
  return [...(chains?.values() ?? [])].reduce((sum, rules) => sum + rules.length, 0);
}

function writeChain(changes: TableChanges, chain: string, rules: readonly string[]): void {
  changes.chains.push(chain);
  for (const rule of rules) changes.commands.push(`-A ${chain} ${rule}`);
}

function sameMeaning(saved: readonly string[] | undefined, rules: readonly string[]): boolean {
  return (
    saved?.length === rules.length && rules.every((rule, index) => canonicalRule(saved[index]!) === canonicalRule(rule))
  );
}
