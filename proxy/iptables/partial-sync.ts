import type { TableChanges } from '../../src/netfilter/transaction.ts';
import type { ServiceState } from '../state/model.ts';
import { renderService } from './render-service.ts';
import { createSectionWriter, emptyChanges, sameRules, writeChain } from './sections.ts';
import { type LineChain, renderServiceLines, type ServicePortRules } from './service-rules.ts';
import { buildLineChain, LINE_CHAINS, type RenderOptions } from './shared-chains.ts';
import { countEndpoints, countRules, type Totals } from './totals.ts';

type Services = ReadonlyMap<string, ServiceState>;

/**
 * The sections of a restore from what was written before to what is wanted now. The rules of a changed service are rendered from its state
 * then and its state now, and what differs is written: nothing is kept of the other services, and nothing of them is looked at, unless
 * a line in a chain that all share comes, goes or changes (a service gets its first endpoint, say). Then that chain is written anew.
 * `undefined` is a step without a section, at which others may run.
 * @param totals - the sums of before; they become those of now
 */
export function* diffServices(
  before: Services,
  now: Services,
  dirty: Iterable<string>,
  options: RenderOptions,
  totals: Totals,
  backend: { isOneTransaction: boolean },
): Generator<TableChanges | undefined, void> {
  const writer = createSectionWriter(backend);
  const touched = new Set<LineChain>();
  for (const name of dirty) {
    const old = renderService(before.get(name), options);
    const next = renderService(now.get(name), options);
    totals.endpoints += countEndpoints(now.get(name)) - countEndpoints(before.get(name));
    countRules(totals, old, -1);
    countRules(totals, next, 1);
    for (const chain of LINE_CHAINS) if (!sameRules(linesOf(old, chain), linesOf(next, chain))) touched.add(chain);
    const gone = chainsOf(old);
    for (const [chain, rules] of chainsOf(next)) {
      if (!sameRules(gone.get(chain), rules)) writeChain(writer.nat, chain, rules);
      gone.delete(chain);
    }
    for (const chain of gone.keys()) writer.remove(chain);
    yield writer.cut();
  }

  const filter = emptyChanges('filter');
  const lines = new Map<LineChain, string[]>([...touched].map((chain) => [chain, []]));
  if (touched.size > 0)
    for (const { ports } of now.values()) {
      for (const port of ports)
        for (const [chain, rules] of renderServiceLines(port, options)) lines.get(chain)?.push(...rules);
      yield undefined;
    }
  for (const [chain, rules] of lines) {
    const { table, name, rules: whole } = buildLineChain(chain, rules, options);
    writeChain(table === 'nat' ? writer.nat : filter, name, whole);
    yield undefined;
  }
  yield filter;
  yield writer.finish();
}

function linesOf(ports: readonly ServicePortRules[], chain: LineChain): readonly string[] {
  return ports.flatMap(({ lines }) => lines.get(chain) ?? []);
}

function chainsOf(ports: readonly ServicePortRules[]): Map<string, readonly string[]> {
  return new Map(ports.flatMap(({ chains }) => chains));
}
