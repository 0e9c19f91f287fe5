import type { IpFamily } from '../src/netfilter/tables.ts';
import { createBoundedRunner } from '../src/runtime/bounded-runner.ts';
import type { Clock } from '../src/runtime/clock.ts';
import type { Logger } from '../src/runtime/log.ts';
import type { NodeRenderOptions, Proxier, SyncReport } from './mode.ts';
import type { ProxySnapshot } from './state/model.ts';
import type { ChangeTracker } from './state/tracker.ts';

const HOUR_MS = 3_600_000;

export interface FamilySyncOptions {
  family: IpFamily;
  tracker: ChangeTracker;
  proxier: Proxier;
  clock: Clock;
  log: Logger;
  minSyncPeriodMs: number;
  /** Delay after a failed sync, and the interval of the look for a flushed table. */
  syncPeriodMs: number;
  /** Asked at each sync; another answer than before makes the sync a full one. */
  nodeOptions(): NodeRenderOptions;
  /** After a sync that succeeded; the next one waits for it. Must not throw. */
  onSynced(done: SyncDone): Promise<void>;
  onFailed(kind: 'full' | 'partial'): void;
  /** Called at every turn of the loop that watches tampering. */
  beat(): void;
}

export interface SyncDone {
  snapshot: ProxySnapshot;
  dirty: ReadonlySet<string>;
  report: SyncReport;
  durationMs: number;
  triggerTimesMs: readonly number[];
}

/** Keeps the rules of one IP family in line with its tracker. */
export interface FamilySync {
  /** Asks for a sync soon; the first ask starts the work. */
  request(): void;
  run(signal: AbortSignal): Promise<void>;
}

export function createFamilySync(options: FamilySyncOptions): FamilySync {
  const { clock, log } = options;
  let lastFullMs = Number.NEGATIVE_INFINITY;
  let lastOptions = '';
  let skipsHourlyRepair = false;
  let isFullWanted = true;
  let triggerTimesMs: number[] = [];

  async function sync(): Promise<void> {
    const startMs = clock.monotonicMs();
    const node = options.nodeOptions();
    const optionsText = JSON.stringify(node);
    const isRepairDue = !skipsHourlyRepair && startMs - lastFullMs >= HOUR_MS;
    const full = isFullWanted || isRepairDue || optionsText !== lastOptions;
    const taken = options.tracker.take();
    triggerTimesMs.push(...taken.triggerTimesMs);
    // Whatever goes wrong from here on, the taken changes must not be lost: the next sync looks at everything.
    isFullWanted = true;
    let report: SyncReport;
    try {
      report = await options.proxier.sync(taken.snapshot, taken.dirty, { node, full });
    } catch (error) {
      options.onFailed(full ? 'full' : 'partial');
      throw error;
    }
    isFullWanted = false;
    lastOptions = optionsText;
    skipsHourlyRepair = report.skipsHourlyRepair;
    if (report.kind === 'full') lastFullMs = startMs;
    const durationMs = clock.monotonicMs() - startMs;
    log.debug({ kind: report.kind, wrote: report.wrote, services: taken.dirty.size, durationMs }, 'rules are in sync');
    const done = { snapshot: taken.snapshot, dirty: taken.dirty, report, durationMs, triggerTimesMs };
    triggerTimesMs = [];
    await options.onSynced(done);
  }

  const runner = createBoundedRunner({
    clock,
    minIntervalMs: options.minSyncPeriodMs,
    maxIntervalMs: HOUR_MS,
    retryMs: options.syncPeriodMs,
    run: sync,
    onError: (error) => log.error({ err: error, retryMs: options.syncPeriodMs }, 'rules could not be synced'),
  });

  /** Firewall managers flush tables when they reload: the canary chain goes with our rules. */
  async function watchCanary(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      options.beat();
      await clock.sleep(options.syncPeriodMs, signal).catch(() => {});
      if (signal.aborted || lastFullMs === Number.NEGATIVE_INFINITY) continue;
      try {
        if (!(await options.proxier.isFlushed(signal))) continue;
        log.warn('another program has flushed our rules; writing them again');
        isFullWanted = true;
        runner.request();
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error }, 'cannot look for the canary chain');
      }
    }
  }

  return {
    request: () => runner.request(),
    async run(signal) {
      await Promise.all([runner.run(signal), watchCanary(signal)]);
    },
  };
}
