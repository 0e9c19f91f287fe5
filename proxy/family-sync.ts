import type { IpFamily } from '../src/netfilter/tables.ts';
import { LockedError } from '../src/netfilter/xtables-lock.ts';
import { createBoundedRunner } from '../src/runtime/bounded-runner.ts';
import type { Clock } from '../src/runtime/clock.ts';
import type { Logger } from '../src/runtime/log.ts';
import { runInSlices } from '../src/runtime/slices.ts';
import type { NodeRenderOptions, Proxier, SyncReport } from './mode.ts';
import type { ProxySnapshot } from './state/model.ts';
import type { ChangeTracker, TakenChanges } from './state/tracker.ts';

const HOUR_MS = 3_600_000;
/** A lock is free again soon; the program that we ran has waited for it already. */
const LOCK_RETRY_MS = 1000;

export interface FamilySyncOptions {
  family: IpFamily;
  tracker: ChangeTracker;
  proxier: Proxier;
  clock: Clock;
  log: Logger;
  minSyncPeriodMs: number;
  /** Delay after a failed sync, and the interval of the look for flushed rules. */
  syncPeriodMs: number;
  /** A sync happens at least this often, asked for or not. */
  maxIntervalMs: number;
  /** Asked at each sync; another answer than before makes the sync a full one. */
  nodeOptions(): NodeRenderOptions;
  /** Before the tracker's changes are taken. Must not throw. */
  beforeTake?(): Promise<void>;
  /** What is wrong with the services that were looked at. */
  onProblems?(problems: TakenChanges['problems']): void;
  /** After a sync that succeeded; the next one waits for it. Must not throw. */
  onSynced(done: SyncDone): Promise<void>;
  onFailed(kind: 'full' | 'partial', error: unknown): void;
  /** Called at every turn of the loop that watches tampering. */
  beat(): void;
}

export interface SyncDone {
  snapshot: ProxySnapshot;
  node: NodeRenderOptions;
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
    await options.beforeTake?.();
    const taken = await runInSlices(options.tracker.takeSteps());
    options.onProblems?.(taken.problems);
    triggerTimesMs.push(...taken.triggerTimesMs);
    // Whatever goes wrong from here on, the taken changes must not be lost: the next sync looks at everything.
    isFullWanted = true;
    let report: SyncReport;
    try {
      report = await options.proxier.sync(taken.snapshot, taken.dirty, { node, full });
    } catch (error) {
      options.onFailed(full ? 'full' : 'partial', error);
      throw error;
    }
    isFullWanted = false;
    lastOptions = optionsText;
    skipsHourlyRepair = report.skipsHourlyRepair;
    if (report.kind === 'full') lastFullMs = startMs;
    const durationMs = clock.monotonicMs() - startMs;
    log.debug({ kind: report.kind, wrote: report.wrote, services: taken.dirty.size, durationMs }, 'rules are in sync');
    const { snapshot, dirty } = taken;
    const done = { snapshot, node, dirty, report, durationMs, triggerTimesMs };
    triggerTimesMs = [];
    await options.onSynced(done);
  }

  const runner = createBoundedRunner({
    clock,
    minIntervalMs: options.minSyncPeriodMs,
    maxIntervalMs: options.maxIntervalMs,
    retryMs: (error) => (error instanceof LockedError ? LOCK_RETRY_MS : options.syncPeriodMs),
    run: sync,
    onError: (error, retryMs) => log.error({ err: error, retryMs }, 'rules could not be synced'),
  });

  function repair(): void {
    log.warn('another program has changed our rules; writing them again');
    isFullWanted = true;
    runner.request();
  }

  /** Firewall managers flush tables when they reload: the canary goes with our rules. */
  async function watchCanary(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      options.beat();
      await clock.sleep(options.syncPeriodMs, signal).catch(() => {});
      if (signal.aborted || lastFullMs === Number.NEGATIVE_INFINITY) continue;
      try {
        if (await options.proxier.isFlushed(signal)) repair();
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error }, 'cannot look whether our rules still stand');
      }
    }
  }

  /** Where the kernel tells of changes, repair need not wait for the next look. */
  async function watchTampering(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && options.proxier.watchTampering) {
      try {
        await options.proxier.watchTampering(signal, repair);
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error }, 'the watch of our rules has ended; starting it again');
      }
      await clock.sleep(options.syncPeriodMs, signal).catch(() => {});
    }
  }

  return {
    request: () => runner.request(),
    async run(signal) {
      await Promise.all([runner.run(signal), watchCanary(signal), watchTampering(signal)]);
    },
  };
}
