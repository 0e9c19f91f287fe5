import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { SavedTables } from '../../src/netfilter/tables.ts';
import { buildChainRemoval, type IptablesTransaction, type TableChanges } from '../../src/netfilter/transaction.ts';
import { CHAINS, type IpvsChains, JUMPS } from './chains.ts';

/** The transaction that makes the kernel's tables hold these chains and the jumps to them; empty when they do. */
export function diffTables(saved: SavedTables, wanted: IpvsChains): IptablesTransaction {
  return [...wanted].map(([table, chains]) => {
    const changes: TableChanges = { table, chains: [], commands: [] };
    const existing = saved.get(table);
    for (const [chain, rules] of chains)
      if (!sameMeaning(existing?.get(chain)?.rules, rules)) writeChain(changes, chain, rules);
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

/**
 * The transaction that removes this mode's chains and the jumps to them. Those in `kept` are another mode's too: they stay, and lose
 * only what names our sets or other chains of ours; `keptJumps` are the rules by which that mode jumps to them.
 */
export function buildIpvsRemoval(
  saved: SavedTables,
  isOwnSet: (name: string) => boolean,
  kept: { chains: ReadonlySet<string>; jumps: readonly string[] } = { chains: new Set(), jumps: [] },
): IptablesTransaction {
  const keptMeanings = new Set(kept.jumps.map(canonicalRule));
  return (['filter', 'nat'] as const).map((table) => {
    const existing = saved.get(table) ?? new Map<string, { rules: string[] }>();
    const own = new Set(CHAINS[table].filter((chain) => existing.has(chain) && !kept.chains.has(`${table} ${chain}`)));
    const removal = buildChainRemoval(table, existing, (chain) => own.has(chain));
    const jumps = JUMPS.filter((jump) => jump.table === table && !keptMeanings.has(canonicalRule(jump.rule)));
    const deletions: string[] = [];
    for (const [chain, { rules }] of existing) {
      if (own.has(chain)) continue;
      for (const rule of rules) {
        const command = `-D ${chain} ${rule}`;
        if (removal.commands.includes(command)) continue;
        const meaning = rule.includes('KUBE-') ? canonicalRule(rule) : '';
        const isJump = jumps.some(({ from, rule: own }) => from === chain && canonicalRule(own) === meaning);
        if (isJump || isOwnSet(/--match-set (\S+)/.exec(rule)?.[1] ?? '')) deletions.push(command);
      }
    }
    return { ...removal, commands: [...deletions, ...removal.commands] };
  });
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
