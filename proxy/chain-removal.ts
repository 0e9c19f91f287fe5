import { canonicalRule } from '../src/netfilter/rule.ts';
import type { SavedTable, TableName } from '../src/netfilter/tables.ts';
import { buildChainRemoval, type TableChanges } from '../src/netfilter/transaction.ts';

/** Chains that the modes iptables and ipvs both fill, as in kube-proxy, by table. */
export const SHARED_CHAINS: ReadonlySet<string> = new Set([
  ...['nat KUBE-SERVICES', 'nat KUBE-POSTROUTING', 'nat KUBE-MARK-MASQ'],
  ...['filter KUBE-FORWARD', 'filter KUBE-PROXY-FIREWALL'],
]);

interface Removal {
  table: TableName;
  saved: SavedTable;
  isOwn(chain: string): boolean;
  /** The rules by which the mode jumps to its chains. */
  jumps: readonly { table: TableName; from: string; rule: string }[];
  /** Those of the mode that has taken over: the shared chains are its own by now, and stay. */
  successorJumps?: readonly { table: TableName; from: string; rule: string }[];
  /** Beside jumps, rules in chains that stay and are to go nevertheless. */
  isForeignBody?(rule: string): boolean;
}

/** What takes one mode's chains and jumps out of a table, and leaves those of its successor. */
export function buildModeRemoval({ table, saved, isOwn, jumps, successorJumps, isForeignBody }: Removal): TableChanges {
  const stays = (chain: string) => successorJumps !== undefined && SHARED_CHAINS.has(`${table} ${chain}`);
  const goes = (chain: string) => isOwn(chain) && !stays(chain);
  const removal = buildChainRemoval(table, saved, goes);
  const keyOf = (from: string, rule: string) => `${from} ${canonicalRule(rule)}`;
  const keys = (ones: Removal['jumps']) =>
    new Set(ones.filter((jump) => jump.table === table).map(({ from, rule }) => keyOf(from, rule)));
  const kept = keys(successorJumps ?? []);
  const own = keys(jumps);
  const known = new Set(removal.commands);
  const deletions: string[] = [];
  for (const [chain, { rules }] of saved) {
    if (goes(chain)) continue;
    for (const rule of rules) {
      const command = `-D ${chain} ${rule}`;
      if (known.has(command) || !rule.includes('KUBE-')) continue;
      const key = keyOf(chain, rule);
      if ((own.has(key) && !kept.has(key)) || isForeignBody?.(rule)) deletions.push(command);
    }
  }
  return { ...removal, commands: [...deletions, ...removal.commands] };
}
