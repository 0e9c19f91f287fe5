import type { IpFamily } from '../src/netfilter/tables.ts';
import { LockedError } from '../src/netfilter/xtables-lock.ts';
import { Counter, Gauge, Histogram, type Registry } from '../src/runtime/metrics.ts';
import type { ModeName, SyncReport } from './mode.ts';

const SYNC_BUCKETS = Array.from({ length: 15 }, (_, index) => 0.001 * 2 ** index);
const PROGRAMMING_BUCKETS = [0.25, 0.5, ...range(1, 60, 1), ...range(75, 300, 15)];

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => from + index * step);
}

export interface ProxyMetrics {
  readonly healthzTotal: Counter<'code'>;
  readonly livezTotal: Counter<'code'>;
  queued(family: IpFamily, nowMs: number): void;
  serviceChanged(): void;
  endpointsChanged(): void;
  setPending(pending: { services: number; endpoints: number }): void;
  synced(family: IpFamily, report: SyncReport, durationMs: number, nowMs: number): void;
  syncFailed(family: IpFamily, kind: 'full' | 'partial', error: unknown): void;
  flowsCleaned(family: IpFamily, deleted: number, durationMs: number): void;
  /** Problems of Services' and slices' input that last. */
  setProblems(family: IpFamily, reason: string, count: number): void;
  /** How long a change took from the controller's first sight of it to the kernel. */
  programmed(family: IpFamily, latencyMs: number): void;
}

/** kube-proxy's metrics, under its names; those of other modes are left out, as there. */
export function createProxyMetrics(registry: Registry, mode: ModeName): ProxyMetrics {
  const registers = [registry];
  const name = (rest: string) => `kubeproxy_${rest}`;
  const histogram = (rest: string, help: string, buckets = SYNC_BUCKETS) =>
    new Histogram({ name: name(rest), help, buckets, labelNames: ['ip_family'], registers });
  const gauge = <L extends string>(rest: string, help: string, labelNames: L[] = []) =>
    new Gauge<L>({ name: name(rest), help, labelNames, registers });
  const counter = <L extends string>(rest: string, help: string, labelNames: L[] = []) =>
    new Counter<L>({ name: name(rest), help, labelNames, registers });

  const duration = histogram('sync_proxy_rules_duration_seconds', 'Seconds that a sync took');
  const durationOf = {
    full: histogram('sync_full_proxy_rules_duration_seconds', 'Seconds that a full sync took'),
    partial: histogram('sync_partial_proxy_rules_duration_seconds', 'Seconds that a partial sync took'),
  };
  const programming = histogram(
    'network_programming_duration_seconds',
    'Seconds from the change of an endpoint to the rule for it',
    PROGRAMMING_BUCKETS,
  );
  const lastSynced = gauge('sync_proxy_rules_last_timestamp_seconds', 'When rules were last synced', ['ip_family']);
  const lastQueued = gauge('sync_proxy_rules_last_queued_timestamp_seconds', 'When a sync was last asked for', [
    'ip_family',
  ]);
  const endpointsPending = gauge('sync_proxy_rules_endpoint_changes_pending', 'Endpoint changes that wait');
  const servicesPending = gauge('sync_proxy_rules_service_changes_pending', 'Service changes that wait');
  const endpointsTotal = counter('sync_proxy_rules_endpoint_changes_total', 'Endpoint changes seen');
  const servicesTotal = counter('sync_proxy_rules_service_changes_total', 'Service changes seen');
  const hasIptables = mode !== 'nftables';
  const ruleGauge = (rest: string, help: string) =>
    hasIptables ? gauge(rest, help, ['ip_family', 'table']) : undefined;
  const rulesTotal = ruleGauge('sync_proxy_rules_iptables_total', 'Rules that stand');
  const rulesLast = ruleGauge('sync_proxy_rules_iptables_last', 'Rules written by the last sync');
  // The nftables mode counts its own.
  const failures = hasIptables
    ? counter('sync_proxy_rules_iptables_restore_failures_total', 'Syncs that failed', ['ip_family'])
    : undefined;
  const partialFailures = hasIptables
    ? counter('sync_proxy_rules_iptables_partial_restore_failures_total', 'Partial syncs that failed', ['ip_family'])
    : undefined;
  const locked = hasIptables
    ? new Counter({
        name: 'berth_proxy_xtables_lock_timeouts_total',
        help: 'Syncs put off because another program held the xtables lock',
        labelNames: ['ip_family'],
        registers,
      })
    : undefined;
  const noLocal = gauge('sync_proxy_rules_no_local_endpoints_total', 'Service ports without a local endpoint', [
    'ip_family',
    'traffic_policy',
  ]);
  const conntrackDuration = histogram(
    'conntrack_reconciler_sync_duration_seconds',
    'Seconds that a look for stale flows took',
  );
  const conntrackDeleted = counter('conntrack_reconciler_deleted_entries_total', 'Stale flows deleted', ['ip_family']);
  const problems = new Gauge({
    name: 'berth_proxy_skipped_inputs',
    help: 'Parts of Services and EndpointSlices that are left out, by reason',
    labelNames: ['ip_family', 'reason'],
    registers,
  });
  return {
    healthzTotal: counter('proxy_healthz_total', 'Answers of /healthz', ['code']),
    livezTotal: counter('proxy_livez_total', 'Answers of /livez', ['code']),
    queued: (ip_family, nowMs) => lastQueued.set({ ip_family }, nowMs / 1000),
    serviceChanged: () => servicesTotal.inc(),
    endpointsChanged: () => endpointsTotal.inc(),
    setPending(pending) {
      servicesPending.set(pending.services);
      endpointsPending.set(pending.endpoints);
    },
    synced(ip_family, report, durationMs, nowMs) {
      duration.observe({ ip_family }, durationMs / 1000);
      durationOf[report.kind].observe({ ip_family }, durationMs / 1000);
      lastSynced.set({ ip_family }, nowMs / 1000);
      for (const [table, count] of Object.entries(report.rules?.total ?? {}))
        rulesTotal?.set({ ip_family, table }, count);
      for (const [table, count] of Object.entries(report.rules?.last ?? {}))
        rulesLast?.set({ ip_family, table }, count);
      for (const traffic_policy of ['internal', 'external'] as const)
        noLocal.set({ ip_family, traffic_policy }, report.withoutLocalEndpoints[traffic_policy]);
    },
    syncFailed(ip_family, kind, error) {
      failures?.inc({ ip_family });
      if (kind === 'partial') partialFailures?.inc({ ip_family });
      if (error instanceof LockedError) locked?.inc({ ip_family });
    },
    flowsCleaned(ip_family, deleted, durationMs) {
      conntrackDuration.observe({ ip_family }, durationMs / 1000);
      conntrackDeleted.inc({ ip_family }, deleted);
    },
    setProblems: (ip_family, reason, count) => problems.set({ ip_family, reason }, count),
    programmed: (ip_family, latencyMs) => programming.observe({ ip_family }, latencyMs / 1000),
  };
}
