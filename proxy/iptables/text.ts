import type { SavedTable, SavedTables } from '../../src/netfilter/tables.ts';
import { renderSection, type TableChanges } from '../../src/netfilter/transaction.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { diffSavedTables } from './full-sync.ts';
import type { RenderOptions } from './shared-chains.ts';
import { noTotals } from './totals.ts';

/** The rules of a snapshot as one restore over tables that hold nothing of ours, one section a table. Pure: equal input gives equal text. */
export function buildFullTransaction(snapshot: ProxySnapshot, options: Omit<RenderOptions, 'family'>): TableChanges[] {
  return [...fullSections(snapshot, options)].filter((section) => section !== undefined);
}

/** Built-in chains into which jumps of ours go. */
const BUILT_IN: Record<string, readonly string[]> = {
  mangle: [],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  nat: ['PREROUTING', 'OUTPUT', 'POSTROUTING'],
};

/** The same as iptables-save would show it on a host without other rules. */
export async function renderIptablesText(
  snapshot: ProxySnapshot,
  options: Omit<RenderOptions, 'family'>,
): Promise<string> {
  const text: string[] = [];
  const steps = fullSections(snapshot, options);
  await runInSlices(
    (function* () {
      for (const section of steps) {
        if (section) text.push(renderSaved(section));
        yield;
      }
    })(),
  );
  return text.join('');
}

function fullSections(snapshot: ProxySnapshot, options: Omit<RenderOptions, 'family'>) {
  const nothing: SavedTables = new Map<never, SavedTable>();
  const all = { ...options, family: snapshot.family };
  return diffSavedTables(nothing, snapshot, all, noTotals(), { isOneTransaction: true });
}

/** A jump is put at the top of its chain, so the last of the commands is the first that a packet meets. */
function renderSaved({ table, chains, commands }: TableChanges): string {
  const isJump = (command: string) => command.startsWith('-I');
  const policies = (BUILT_IN[table] ?? []).map((chain) => `:${chain} ACCEPT [0:0]`);
  const jumps = commands
    .filter(isJump)
    .reverse()
    .map((command) => command.replace('-I', '-A'));
  const [head, ...rest] = renderSection({
    table,
    chains,
    commands: [...jumps, ...commands.filter((command) => !isJump(command))],
  }).split('\n');
  return [head, ...policies, ...rest].join('\n');
}
