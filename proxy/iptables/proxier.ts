import type { Iptables } from '../../src/netfilter/iptables.ts';
import type { TableName } from '../../src/netfilter/tables.ts';
import { type IptablesTransaction, isEmptyTransaction } from '../../src/netfilter/transaction.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { Proxier, SyncReport } from '../mode.ts';
import type { ProxySnapshot } from '../state/model.ts';
import { diffRuleSets, diffSavedTables } from './diff.ts';
import { CHAIN } from './names.ts';
import {
  assembleRuleSet,
  countEndpoints,
  LARGE_CLUSTER_ENDPOINTS,
  type RenderOptions,
  type RuleSet,
  renderRuleSetSteps,
  renderService,
} from './rule-set.ts';
import type { ServicePortRules } from './service-rules.ts';

/**
 * Brings the iptables rules of one IP family in line with snapshots. A full pass reads the kernel's tables and repairs what differs;
 * a partial one compares with what the pass before has written.
 */
export function createIptablesProxier(iptables: Iptables): Proxier {
  /** What stands in the kernel as far as we know; undefined when we don't. */
  let applied: RuleSet | undefined;

  async function render(
    snapshot: ProxySnapshot,
    dirty: ReadonlySet<string>,
    options: RenderOptions,
    signal?: AbortSignal,
  ) {
    if (!applied) return runInSlices(renderRuleSetSteps(snapshot, options), signal);
    const services = new Map<string, readonly ServicePortRules[]>();
    for (const [name, state] of snapshot.services) {
      const known = dirty.has(name) ? undefined : applied.services.get(name);
      services.set(name, known ?? renderService(state, options));
    }
    return assembleRuleSet(services, { ...options, family: snapshot.family });
  }

  return {
    async sync(snapshot, dirty, { node, full, signal }) {
      const isLargeCluster = countEndpoints(snapshot) > LARGE_CLUSTER_ENDPOINTS;
      const options = { ...node, isLargeCluster, hasRandomFully: await iptables.hasRandomFully(signal) };
      if (full) applied = undefined;
      const before = applied;
      if (before && dirty.size === 0) return reportOf(before, [], 'partial', isLargeCluster);
      const wanted = await render(snapshot, dirty, options, signal);
      // Known again only once the transaction is through: a pass that fails half-way leaves us to read the kernel anew.
      applied = undefined;
      const transaction = before
        ? diffRuleSets(before, wanted, dirty)
        : await runInSlices(diffSavedTables(await iptables.save(undefined, signal), wanted), signal);
      // Not to be torn apart by a shutdown: it takes milliseconds, and the kernel takes it table by table.
      await iptables.restore(transaction);
      applied = wanted;
      return reportOf(wanted, transaction, before ? 'partial' : 'full', isLargeCluster);
    },
    async isFlushed(signal) {
      for (const table of CANARY_TABLES) if (!(await iptables.chainExists(table, CHAIN.canary, signal))) return true;
      return false;
    },
  };
}

const CANARY_TABLES: readonly TableName[] = ['mangle', 'nat', 'filter'];

function reportOf(
  standing: RuleSet,
  transaction: IptablesTransaction,
  kind: SyncReport['kind'],
  isLargeCluster: boolean,
): SyncReport {
  const withoutLocalEndpoints = { internal: 0, external: 0 };
  for (const ports of standing.services.values())
    for (const port of ports) {
      if (port.withoutLocalEndpoints.internal) withoutLocalEndpoints.internal++;
      if (port.withoutLocalEndpoints.external) withoutLocalEndpoints.external++;
    }
  return {
    kind,
    wrote: !isEmptyTransaction(transaction),
    // There it would cost seconds.
    skipsHourlyRepair: isLargeCluster,
    withoutLocalEndpoints,
    rules: { total: countRules(standing), last: countWritten(transaction) },
  };
}

function countRules({ shared, services }: RuleSet): Record<'filter' | 'nat', number> {
  const inTable = (table: TableName) =>
    [...(shared.get(table)?.values() ?? [])].reduce((sum, rules) => sum + rules.length, 0);
  let ofServices = 0;
  for (const ports of services.values())
    for (const { chains } of ports) for (const [, rules] of chains) ofServices += rules.length;
  return { filter: inTable('filter'), nat: inTable('nat') + ofServices };
}

function countWritten(transaction: IptablesTransaction): Record<'filter' | 'nat', number> {
  const inTable = (wanted: TableName) => transaction.find(({ table }) => table === wanted)?.commands.length ?? 0;
  return { filter: inTable('filter'), nat: inTable('nat') };
}
