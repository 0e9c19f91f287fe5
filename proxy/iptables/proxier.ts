import type { Iptables } from '../../src/netfilter/iptables.ts';
import type { Nfacct } from '../../src/netfilter/nfacct.ts';
import type { SavedTables } from '../../src/netfilter/tables.ts';
import type { TableChanges } from '../../src/netfilter/transaction.ts';
import { valuesInSlices } from '../../src/runtime/slices.ts';
import type { Proxier, SyncReport } from '../mode.ts';
import type { ProxySnapshot, ServiceState } from '../state/model.ts';
import { ensureCounters } from './counters.ts';
import { diffSavedTables, hasJump } from './full-sync.ts';
import { CHAIN, isProxyChain } from './names.ts';
import { diffServices } from './partial-sync.ts';
import { buildFixedChains, jumpsOf, nodePortJumps, type RenderOptions, TABLES } from './shared-chains.ts';
import type { TamperWatch } from './tamper-watch.ts';
import { countEndpoints, noTotals, type Totals } from './totals.ts';

/** More endpoints than this, and per-service rules do without comments (kube-proxy's largeClusterEndpointsThreshold). */
const LARGE_CLUSTER_ENDPOINTS = 1000;

/** Whether a snapshot has so many. */
export function isLargeCluster({ services }: ProxySnapshot): boolean {
  return countAll(services) > LARGE_CLUSTER_ENDPOINTS;
}

/** What stands in the kernel as far as we know. The services are the snapshot's own objects: no rule is kept. */
interface Applied {
  services: ReadonlyMap<string, ServiceState>;
  totals: Totals;
  options: RenderOptions;
}

interface ProxierParts {
  /** Counters for rules to add to, where the kernel has some. */
  nfacct?: Nfacct;
  /** Ears for what others do, where the kernel tells. */
  watch?: TamperWatch;
}

/**
 * Brings the iptables rules of one IP family in line with snapshots. A full pass reads the kernel's tables and repairs what differs;
 * a partial one writes where the rules of changed services differ from those of their state before.
 */
export function createIptablesProxier(iptables: Iptables, { nfacct, watch }: ProxierParts = {}): Proxier {
  let applied: Applied | undefined;
  let counters: Partial<RenderOptions> = {};

  return {
    async sync({ family, services }, dirty, { node, full, signal }) {
      const endpoints = full || !applied ? countAll(services) : countChanged(applied, services, dirty);
      const isLarge = endpoints > LARGE_CLUSTER_ENDPOINTS;
      // Beyond the threshold rules look different everywhere.
      const before = full || applied?.options.isLargeCluster !== isLarge ? undefined : applied;
      const hasRandomFully = await iptables.hasRandomFully(signal);
      if (!before && nfacct) counters = await ensureCounters(nfacct, node);
      const options: RenderOptions = { ...node, ...counters, family, isLargeCluster: isLarge, hasRandomFully };
      const written: Record<'filter' | 'nat', number> = { filter: 0, nat: 0 };
      const report = (totals: Totals, wrote: boolean) =>
        buildReport({ kind: before ? 'partial' : 'full', totals, wrote, written, options });
      if (before && dirty.size === 0) return report(before.totals, false);

      // Known again only once the restore is through: a pass that fails half-way leaves us to read the kernel anew.
      applied = undefined;
      const totals: Totals = before ? { ...before.totals } : noTotals();
      const backend = { isOneTransaction: (await iptables.variant(signal)) === 'legacy' };
      const steps = before
        ? diffServices(before.services, services, dirty, options, totals, backend)
        : diffSavedTables(await iptables.save(undefined, signal), { family, services }, options, totals, backend);
      // Without the signal: not to be torn apart by a shutdown.
      watch?.pause();
      const wrote = await iptables.restore(counted(valuesInSlices(steps), written)).finally(() => watch?.resume());
      applied = { services, totals, options };
      return report(totals, wrote);
    },
    async isFlushed(signal) {
      for (const table of TABLES) if (!(await iptables.chainExists(table, CHAIN.canary, signal))) return true;
      // Nobody tells of single rules there. Reading all of them is cheap while they are few.
      const known = applied;
      if (!known || known.options.isLargeCluster || (await iptables.variant(signal)) === 'nft') return false;
      const saved = await iptables.save(undefined, signal);
      // A sync meanwhile has changed what there is to be.
      return applied === known && !holdsAll(saved, known);
    },
    async watchTampering(signal, onTampered) {
      if (watch && (await iptables.variant(signal)) === 'nft') return watch.run(iptables.family, signal, onTampered);
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    },
  };
}

async function* counted(
  sections: AsyncIterable<TableChanges>,
  written: Record<string, number>,
): AsyncGenerator<TableChanges> {
  for await (const section of sections) {
    if (section.table in written) written[section.table]! += section.commands.length;
    yield section;
  }
}

function countAll(services: ReadonlyMap<string, ServiceState>): number {
  let count = 0;
  for (const state of services.values()) count += countEndpoints(state);
  return count;
}

function countChanged(
  before: Applied,
  services: ReadonlyMap<string, ServiceState>,
  dirty: ReadonlySet<string>,
): number {
  let count = before.totals.endpoints;
  for (const name of dirty) count += countEndpoints(services.get(name)) - countEndpoints(before.services.get(name));
  return count;
}

/** Whether as many rules stand as were written, with every jump to them. */
function holdsAll(saved: SavedTables, { totals, options }: Applied): boolean {
  const wanted = countStanding(totals, options);
  for (const table of ['filter', 'nat'] as const) {
    let count = 0;
    for (const [chain, { rules }] of saved.get(table) ?? []) if (isProxyChain(chain)) count += rules.length;
    if (count !== wanted[table]) return false;
  }
  return jumpsOf(options).every(({ table, from, rule }) => hasJump(saved.get(table)?.get(from), rule));
}

/** Rules in chains of ours, by table. The last rules of KUBE-SERVICES are those to KUBE-NODEPORTS. */
function countStanding(totals: Totals, options: RenderOptions): Record<'filter' | 'nat', number> {
  const fixed = buildFixedChains(options);
  const inTable = (wanted: string) =>
    fixed.reduce((sum, { table, rules }) => sum + (table === wanted ? rules.length : 0), 0);
  return {
    filter: totals.filter + inTable('filter'),
    nat: totals.nat + inTable('nat') + nodePortJumps(options).length,
  };
}

function buildReport(done: {
  kind: SyncReport['kind'];
  totals: Totals;
  wrote: boolean;
  written: Readonly<Record<'filter' | 'nat', number>>;
  options: RenderOptions;
}): SyncReport {
  const { totals, options } = done;
  return {
    kind: done.kind,
    wrote: done.wrote,
    // There it would cost seconds.
    skipsHourlyRepair: options.isLargeCluster,
    withoutLocalEndpoints: { internal: totals.withoutInternal, external: totals.withoutExternal },
    rules: {
      total: countStanding(totals, options),
      last: done.written,
    },
  };
}
