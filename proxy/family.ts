import { listListeningPorts } from '../src/linux/netlink/sock-diag.ts';
import { createConntrack } from '../src/netfilter/ctnetlink.ts';
import type { IpFamily } from '../src/netfilter/tables.ts';
import type { Clock } from '../src/runtime/clock.ts';
import type { Logger } from '../src/runtime/log.ts';
import type { KubeProxyConfiguration } from './config/kube-proxy-configuration.ts';
import { createConntrackCleaner } from './conntrack/cleaner.ts';
import { createFamilySync, type FamilySync, type SyncDone } from './family-sync.ts';
import type { Leftovers } from './leftovers.ts';
import type { ProxyMetrics } from './metrics.ts';
import type { NodeRenderOptions, Proxier, ProxyMode } from './mode.ts';
import { addressesOf, readLocalInterfaces } from './node-addresses.ts';
import { createNodePortGuard } from './node-port-guard.ts';
import type { ProblemLog } from './problem-log.ts';
import type { ChangeTracker } from './state/tracker.ts';
import { syncPeriodsOf } from './sync-periods.ts';
import type { SysctlSetting } from './sysctls.ts';

export interface FamilyOptions {
  family: IpFamily;
  mode: ProxyMode;
  config: KubeProxyConfiguration;
  tracker: ChangeTracker;
  leftovers: Leftovers;
  problems: ProblemLog;
  metrics: ProxyMetrics;
  /** Path of the network namespace; the process's own unless given. */
  netns?: string;
  /** Wall time, milliseconds, at which this process began to serve. */
  startedAtMs: number;
  nodeOptions(): NodeRenderOptions;
  applySysctls(settings: readonly SysctlSetting[]): void;
  /** After each sync that succeeded, before the flows that it made stale are looked for. */
  onSynced(done: SyncDone): void;
  beat(): void;
  clock: Clock;
  log: Logger;
}

/** Everything that serves one IP family: its proxier, and what follows a sync. */
export function createFamily(options: FamilyOptions): FamilySync & { proxier: Proxier } {
  const { family, mode, metrics, tracker, clock } = options;
  const log = options.log.child({ family });
  const proxier = mode.proxier(family);
  const guard = createNodePortGuard({ listeningPorts: (protocol) => listListeningPorts(protocol, options.netns), log });
  const cleaner = createConntrackCleaner({
    conntrack: createConntrack({ netns: options.netns }),
    localAddresses: () => addressesOf(readLocalInterfaces(options.netns)),
    log,
  });

  async function onSynced(done: SyncDone): Promise<void> {
    const nowMs = clock.nowMs();
    metrics.synced(family, done.report, done.durationMs, nowMs);
    // What happened before this process began says nothing about it.
    for (const triggerMs of done.triggerTimesMs)
      if (triggerMs >= options.startedAtMs) metrics.programmed(family, nowMs - triggerMs);
    options.applySysctls(mode.sysctlsAfterSync?.(family, done.node) ?? []);
    options.onSynced(done);
    const startMs = clock.monotonicMs();
    const deleted = await cleaner.clean(done.snapshot, done.dirty);
    metrics.flowsCleaned(family, deleted, clock.monotonicMs() - startMs);
    await options.leftovers.remove(family);
  }

  const sync: FamilySync = createFamilySync({
    ...syncPeriodsOf(options.config, mode.name),
    family,
    tracker,
    proxier,
    clock,
    log,
    nodeOptions: options.nodeOptions,
    beat() {
      options.beat();
      // The process may have ended.
      if (guard.hasBusy()) sync.request();
    },
    async beforeTake() {
      tracker.setBusyNodePorts(await guard.look(tracker.nodePorts()));
    },
    onProblems: (problems) => options.problems.update(family, problems),
    onFailed: (kind, error) => metrics.syncFailed(family, kind, error),
    onSynced,
  });
  return { ...sync, proxier };
}
