import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { SavedChain, SavedTable, SavedTables } from '../../src/netfilter/tables.ts';
import type { TableChanges } from '../../src/netfilter/transaction.ts';
import type { ProxySnapshot } from '../state/model.ts';
import type { Jump } from './jumps.ts';
import { isServiceChain } from './names.ts';
import { renderService } from './render-service.ts';
import { createSectionWriter, emptyChanges, holdsRules, writeChain } from './sections.ts';
import type { LineChain } from './service-rules.ts';
import { buildFixedChains, buildLineChain, jumpsOf, LINE_CHAINS, type RenderOptions, TABLES } from './shared-chains.ts';
import { countEndpoints, countRules, type Totals } from './totals.ts';

/**
 * The sections of a restore from what the kernel holds to what a snapshot asks for: jumps that are missing, chains that differ, service chains
 * that nobody wants any more. No section when the kernel holds it all. Rules are rendered as they are needed and not kept: the text of a
 * large cluster is many times its services. `undefined` is a step without a section, at which others may run.
 * @param totals - receives the sums
 */
export function* diffSavedTables(
  saved: SavedTables,
  snapshot: ProxySnapshot,
  options: RenderOptions,
  totals: Totals,
  backend: { isOneTransaction: boolean },
): Generator<TableChanges | undefined, void> {
  const writer = createSectionWriter(backend);
  const savedNat = saved.get('nat') ?? new Map();
  const stale = new Set([...savedNat.keys()].filter(isServiceChain));
  const fixed = buildFixedChains(options);
  // Chains of services jump to KUBE-MARK-MASQ: it has to be there before the first of them.
  for (const { table, name, rules } of fixed)
    if (table === 'nat' && !holdsRules(savedNat.get(name), rules)) writeChain(writer.nat, name, rules);

  const lines = new Map<LineChain, string[]>(LINE_CHAINS.map((chain) => [chain, []]));
  for (const state of snapshot.services.values()) {
    const ports = renderService(state, options);
    totals.endpoints += countEndpoints(state);
    countRules(totals, ports, 1);
    for (const port of ports) {
      for (const [chain, rules] of port.lines) lines.get(chain)!.push(...rules);
      for (const [chain, rules] of port.chains) {
        stale.delete(chain);
        if (!holdsRules(savedNat.get(chain), rules)) writeChain(writer.nat, chain, rules);
      }
    }
    yield writer.cut();
  }

  for (const chain of stale) writer.remove(chain);
  const shared = [
    ...fixed.filter(({ table }) => table !== 'nat'),
    ...[...lines].map(([chain, rules]) => buildLineChain(chain, rules, options)),
  ];
  for (const table of TABLES) {
    const changes = table === 'nat' ? writer.nat : emptyChanges(table);
    const existing: SavedTable = saved.get(table) ?? new Map();
    for (const chain of shared) {
      if (chain.table === table && !holdsRules(existing.get(chain.name), chain.rules))
        writeChain(changes, chain.name, chain.rules);
      yield undefined;
    }
    for (const jump of jumpsOf(options)) if (jump.table === table) ensureJump(changes, jump, existing);
    yield table === 'nat' ? writer.finish() : changes;
  }
}

function ensureJump(changes: TableChanges, { from, rule }: Jump, existing: SavedTable): void {
  if (!hasJump(existing.get(from), rule)) changes.commands.push(`-I ${from} ${rule}`);
}

/** Whether a chain holds a jump, in whatever spelling. */
export function hasJump(chain: SavedChain | undefined, rule: string): boolean {
  const target = rule.slice(rule.lastIndexOf('-j'));
  const meaning = canonicalRule(rule);
  return chain?.rules.some((other) => other.endsWith(target) && canonicalRule(other) === meaning) ?? false;
}
