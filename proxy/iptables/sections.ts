import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { SavedChain } from '../../src/netfilter/tables.ts';
import type { TableChanges } from '../../src/netfilter/transaction.ts';

/**
 * How many chains of services one section of a restore may write. For each name in a section iptables-restore (nft) walks through a sorted
 * list of all its names: its time grows with the square. One section of 10,000 services takes it 40 s of CPU, sections of 600 chains 1.5 s.
 */
const CHAINS_A_SECTION = 600;

/**
 * What a restore writes, cut into sections that each become one transaction of the kernel (`*nat … COMMIT`). The chains of one service are
 * never torn apart, and shared chains come last: chains of services that are new are whole before anything leads to them, and a restore
 * that breaks off in the middle leaves nothing that a packet could take half.
 */
export interface SectionWriter {
  readonly nat: TableChanges;
  /** To be called between services. @returns the section that is full, to be handed on; undefined while there is room */
  cut(): TableChanges | undefined;
  /** The last section of the nat table: what is left, with the removals behind everything else. */
  finish(): TableChanges;
  /** Takes a chain of a service away, at the very end. */
  remove(chain: string): void;
}

/** @param isOneTransaction - the backend replaces whole tables at once (legacy): cutting would cost, and it needs none. */
export function createSectionWriter({ isOneTransaction }: { isOneTransaction: boolean }): SectionWriter {
  const limit = isOneTransaction ? Number.POSITIVE_INFINITY : CHAINS_A_SECTION;
  const removed: string[] = [];
  let nat = emptyChanges('nat');
  return {
    get nat() {
      return nat;
    },
    remove: (chain) => removed.push(chain),
    cut() {
      if (nat.chains.length < limit) return undefined;
      const full = nat;
      nat = emptyChanges('nat');
      return full;
    },
    finish() {
      // A chain line empties the chain; by the time of -X nothing leads to it any more.
      for (const chain of removed) {
        nat.chains.push(chain);
        nat.commands.push(`-X ${chain}`);
      }
      return nat;
    },
  };
}

/**
 * A removal in sections of bearable length: the jumps to our chains first, so that no packet comes there any more, then the chains' rules, then,
 * once nothing refers to any of them, the chains. What a broken run leaves behind does nothing, and the next one takes it away.
 */
export function cutRemoval({ table, chains, commands }: TableChanges): TableChanges[] {
  const isChainRemoval = (command: string) => command.startsWith('-X ');
  return [
    { table, chains: [], commands: commands.filter((command) => !isChainRemoval(command)) },
    ...pieces(chains).map((piece) => ({ table, chains: piece, commands: [] })),
    ...pieces(commands.filter(isChainRemoval)).map((piece) => ({ table, chains: [], commands: piece })),
  ];
}

function pieces(all: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(all.length / CHAINS_A_SECTION) }, (_, index) =>
    all.slice(index * CHAINS_A_SECTION, (index + 1) * CHAINS_A_SECTION),
  );
}

export function emptyChanges(table: TableChanges['table']): TableChanges {
  return { table, chains: [], commands: [] };
}

export function writeChain(changes: TableChanges, chain: string, rules: readonly string[]): void {
  changes.chains.push(chain);
  for (const rule of rules) changes.commands.push(`-A ${chain} ${rule}`);
}

export function sameRules(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a !== undefined && a.length === b.length && a.every((rule, index) => rule === b[index]);
}

/** As sameRules, with the kernel's: rules are spelled as iptables-save prints them; where a version prints otherwise, their meaning counts. */
export function holdsRules(saved: SavedChain | undefined, rules: readonly string[]): boolean {
  if (saved?.rules.length !== rules.length) return false;
  return rules.every((rule, index) => {
    const other = saved.rules[index]!;
    return other === rule || canonicalRule(other) === canonicalRule(rule);
  });
}
