import type { TableName } from './tables.ts';

/** What one table gets in an `iptables-restore --noflush` run. Within a table the kernel applies all of it or nothing. */
export interface TableChanges {
  table: TableName;
  /** User chains that are created when absent and emptied when present. */
  chains: string[];
  /** Commands in order, without quoting left to do: `-A CHAIN …`, `-I CHAIN …`, `-D CHAIN …`, `-X CHAIN`. */
  commands: string[];
}

/** One run of iptables-restore: each entry is a transaction of the kernel, in their order; a table may come more than once. */
export type IptablesTransaction = readonly TableChanges[];

/** Whether the transaction would change nothing, so that the run can be left out. */
export function isEmptyTransaction(transaction: IptablesTransaction): boolean {
  return transaction.every(({ chains, commands }) => chains.length === 0 && commands.length === 0);
}

/** The transaction as text for stdin of `iptables-restore --noflush`. Tables without changes are left out. */
export function renderTransaction(transaction: IptablesTransaction): string {
  return transaction.map(renderSection).join('');
}

/** One table's part of that text; empty when nothing changes. */
export function renderSection({ table, chains, commands }: TableChanges): string {
  if (chains.length + commands.length === 0) return '';
  return `${[`*${table}`, ...chains.map((chain) => `:${chain} - [0:0]`), ...commands, 'COMMIT'].join('\n')}\n`;
}

/**
 * The changes that take chains away again, whole: the jumps to them that stand in other chains, then their rules, then themselves.
 * `-D` gets the rule as iptables-save printed it.
 */
export function buildChainRemoval(
  table: TableName,
  saved: ReadonlyMap<string, { rules: string[] }>,
  isOwn: (chain: string) => boolean,
): TableChanges {
  const own = [...saved.keys()].filter(isOwn).sort();
  const deletions = [...saved]
    .filter(([chain]) => !isOwn(chain))
    .flatMap(([chain, { rules }]) =>
      rules.filter((rule) => isOwn(targetOf(rule) ?? '')).map((rule) => `-D ${chain} ${rule}`),
    );
  // A chain line empties the chain; once all are empty nothing refers to any of them, and -X works in any order.
  return { table, chains: own, commands: [...deletions, ...own.map((chain) => `-X ${chain}`)] };
}

/** The chain or target that a rule jumps or goes to. */
export function targetOf(rule: string): string | undefined {
  return /(?:^|\s)(?:-j|--jump|-g|--goto) (\S+)/.exec(rule.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""'))?.[1];
}
