import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { podKey } from '../containers/identity.ts';
import type { Reclaim } from '../gc/reclaim.ts';
import type { PodVerdict } from '../pods/verdict.ts';
import { isCriticalPod } from '../resources/critical.ts';
import type { StatsProvider, Summary } from '../stats/summary.ts';
import { CALM, computeEviction, isMet } from './decision.ts';
import { canReclaim, type DiskLayout } from './disk-layout.ts';
import { findLimitViolation } from './local-storage.ts';
import { describeEviction } from './message.ts';
import type { EvictionMetrics } from './metrics.ts';
import { type Observations, observe } from './observations.ts';
import { type PodStatsOf, rankPods } from './rank.ts';
import { isMemorySignal, type PressureCondition, resourceOf, type Signal } from './signals.ts';
import { isHard, type Threshold, withContainerFs } from './thresholds.ts';

export interface EvictionOptions {
  thresholds: readonly Threshold[];
  /** evictionPressureTransitionPeriod. */
  transitionPeriodMs: number;
  /** evictionMaxPodGracePeriod: the most that a pod gets at a soft threshold; negative: what it asks for. */
  maxPodGraceSeconds: number;
  /** localStorageCapacityIsolation: pods are held to their limits on local disk. */
  enforceLocalStorage: boolean;
}

export interface EvictionDependencies {
  stats: StatsProvider;
  /** Whether the Engine's root has a file system of its own. */
  diskLayout(): Promise<DiskLayout>;
  /** Pods of which something runs and that nobody has condemned yet. */
  candidates(): Pod[];
  condemn(uid: string, verdict: PodVerdict): Promise<void>;
  /** Nothing of the pod is left: containers, volumes, cgroup. */
  isGone(uid: string): boolean;
  /** Keeps what is left of a pod from taking more memory until it is gone. */
  holdMemory?(pod: Pod): Promise<void>;
  reclaim: Reclaim;
  tellPod(pod: Pod, message: string, annotations: Record<string, string>): void;
  tellNode(reason: string, message: string): void;
  /** The node's conditions are others now. */
  onConditions(): void;
  metrics: EvictionMetrics;
  clock: Clock;
  log: Logger;
  beat?: () => void;
}

export interface EvictionManager {
  conditions(): ReadonlySet<PressureCondition>;
  /** The node's or the pods' memory is below its threshold: looks at once, at memory alone. */
  memoryIsLow(): void;
  run(signal: AbortSignal): Promise<void>;
}

const MONITOR_MS = 10_000;
/** A pod that goes for what the node lacks, or for what it took too much of, hardly gets time. */
const IMMEDIATE_GRACE_SECONDS = 1;
/** After an end was asked for: half as long again as the grace, and at least this, until the next look is taken all the same. */
const LEAST_END_MS = 10_000;
const CLEAN_UP_MS = 30_000;
const CLEAN_UP_POLL_MS = 250;

/** Watches what the node may run short of, and lets pods go before the kernel has to choose (sheet §19). */
export function createEvictionManager(options: EvictionOptions, deps: EvictionDependencies): EvictionManager {
  const { stats, clock, log } = deps;
  let state = CALM;
  let conditions: ReadonlySet<PressureCondition> = new Set();
  let layout: DiskLayout | undefined;
  let thresholds = options.thresholds;
  let observations: Observations = new Map();
  let isMemoryLow = false;
  let told: { signal: Signal; atMs: number } | undefined;
  let wake = () => {};

  /** @returns the pods that were let go. */
  async function look(memoryOnly: boolean, signal: AbortSignal): Promise<Pod[]> {
    if (thresholds.length === 0 && !options.enforceLocalStorage) return [];
    if (!layout) {
      layout = await deps.diskLayout();
      thresholds = withContainerFs(options.thresholds, layout);
    }
    const summary = await stats.summary({ maxAgeMs: 0, onlyCpuAndMemory: memoryOnly });
    const seen = observe(summary);
    // A look at memory alone says nothing of the rest.
    observations = memoryOnly ? new Map([...observations, ...seen]) : seen;
    const decision = computeEviction(state, thresholds, observations, {
      nowMs: clock.monotonicMs(),
      transitionPeriodMs: options.transitionPeriodMs,
    });
    state = decision.state;
    setConditions(decision.conditions);
    const statsOf = indexPods(summary);
    if (options.enforceLocalStorage && !memoryOnly) {
      const evicted = await enforceLimits(statsOf, layout, signal);
      if (evicted.length > 0) return evicted;
    }
    const starved = memoryOnly ? decision.starved.filter((one) => isMemorySignal(one.signal)) : decision.starved;
    if (starved.length === 0) return [];
    const evicted = await relieve(starved, statsOf, layout, signal);
    return evicted ? [evicted] : [];
  }

  function setConditions(next: ReadonlySet<PressureCondition>): void {
    const isSame = next.size === conditions.size && [...next].every((one) => conditions.has(one));
    conditions = next;
    if (isSame) return;
    log.info({ conditions: [...next] }, 'pressure on the node');
    deps.onConditions();
  }

  async function enforceLimits(statsOf: PodStatsOf, disk: DiskLayout, signal: AbortSignal): Promise<Pod[]> {
    const evictions = deps.candidates().flatMap((pod) => {
      const ofPod = statsOf(pod.metadata.uid);
      const violation = ofPod && findLimitViolation(pod, ofPod, disk);
      if (!violation || isCriticalPod(pod)) return [];
      deps.metrics.evicted(violation.signal);
      const verdict = { phase: 'Failed', reason: 'Evicted', message: violation.message } as const;
      return [evict(pod, { ...verdict, graceSeconds: IMMEDIATE_GRACE_SECONDS }, {}, signal).then(() => pod)];
    });
    return Promise.all(evictions);
  }

  /** Makes room: with what nobody needs, else by the pod that is ranked first. */
  async function relieve(
    starved: readonly Threshold[],
    statsOf: PodStatsOf,
    disk: DiskLayout,
    signal: AbortSignal,
  ): Promise<Pod | undefined> {
    const [first] = starved;
    const resource = resourceOf(first!.signal);
    announce(first!);
    if (canReclaim(first!.signal, disk) && (await isRelievedByReclaim(starved, signal))) return undefined;
    const pod = rankPods(deps.candidates(), statsOf, first!.signal, disk).find((one) => !isCriticalPod(one));
    if (!pod) {
      log.warn({ resource }, 'no pod can be evicted');
      return undefined;
    }
    for (const { signal: name } of starved) {
      const observed = observations.get(name);
      if (observed) deps.metrics.statsAge(name, (clock.nowMs() - Date.parse(observed.time)) / 1000);
    }
    const { message, annotations } = describeEviction(pod, statsOf(pod.metadata.uid), starved, observations);
    const hard = isHard(first!);
    // Beside its end: the kernel may take its time to reclaim.
    if (hard && resource === 'memory') void holdMemory(pod);
    deps.metrics.evicted(first!.signal);
    await evict(
      pod,
      {
        phase: 'Failed',
        reason: 'Evicted',
        message,
        ...(hard
          ? { graceSeconds: IMMEDIATE_GRACE_SECONDS }
          : options.maxPodGraceSeconds >= 0 && { graceSeconds: options.maxPodGraceSeconds }),
        condition: { type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet', message },
      },
      annotations,
      signal,
    );
    return pod;
  }

  /** Looks at low memory follow each other fast; people are told as often as by the regular ones. */
  function announce({ signal: name }: Threshold): void {
    if (told?.signal === name && clock.monotonicMs() - told.atMs < MONITOR_MS) return;
    told = { signal: name, atMs: clock.monotonicMs() };
    deps.tellNode('EvictionThresholdMet', `Attempting to reclaim ${resourceOf(name)}`);
    log.warn({ signal: name, ...observations.get(name) }, 'eviction threshold met');
  }

  async function isRelievedByReclaim(starved: readonly Threshold[], signal: AbortSignal): Promise<boolean> {
    for (const step of [deps.reclaim.deleteDeadContainers, deps.reclaim.deleteUnusedImages])
      try {
        await step(signal);
      } catch (error) {
        signal.throwIfAborted();
        log.warn({ err: error }, 'room could not be made without evicting pods');
      }
    const after = observe(await stats.summary({ maxAgeMs: 0 }));
    const left = starved.filter((one) => isMet(one, after, true));
    if (left.length === 0) log.info('room was made without evicting pods');
    return left.length === 0;
  }

  async function holdMemory(pod: Pod): Promise<void> {
    try {
      await deps.holdMemory?.(pod);
    } catch (error) {
      log.debug({ pod: podKey(pod), err: error }, 'the memory of a pod that is evicted could not be held');
    }
  }

  async function evict(pod: Pod, verdict: PodVerdict, annotations: Record<string, string>, signal: AbortSignal) {
    deps.tellPod(pod, verdict.message, annotations);
    log.warn({ pod: podKey(pod), uid: pod.metadata.uid }, `evicting a pod: ${verdict.message}`);
    const limitMs = Math.max(LEAST_END_MS, (verdict.graceSeconds ?? 30) * 1500);
    const limit = new AbortController();
    const late = clock.sleep(limitMs, AbortSignal.any([signal, limit.signal]));
    try {
      const ended = deps.condemn(pod.metadata.uid, verdict).then(() => true);
      // When nobody waits for it any more.
      ended.catch(() => {});
      if (!(await Promise.race([ended, late.then(() => false)])))
        log.error({ pod: podKey(pod) }, `an evicted pod has not ended within ${limitMs / 1000} s`);
    } finally {
      limit.abort();
      late.catch(() => {});
    }
  }

  /** What an evicted pod held is free only when its volumes and cgroup are gone: the next look would not see it yet. */
  async function cleanedUp(pods: readonly Pod[], signal: AbortSignal): Promise<void> {
    const deadlineMs = clock.monotonicMs() + CLEAN_UP_MS;
    while (!pods.every(({ metadata }) => deps.isGone(metadata.uid))) {
      if (clock.monotonicMs() > deadlineMs)
        return log.warn({ pods: pods.map(podKey) }, 'evicted pods are not cleaned up');
      await clock.sleep(CLEAN_UP_POLL_MS, signal);
    }
  }

  /** Waits for the next regular look, or until memory is low. */
  async function pause(signal: AbortSignal): Promise<void> {
    if (isMemoryLow) return;
    const wakeUp = new AbortController();
    wake = () => wakeUp.abort();
    await clock.sleep(MONITOR_MS, AbortSignal.any([signal, wakeUp.signal])).catch(() => {});
    wake = () => {};
  }

  return {
    conditions: () => conditions,
    memoryIsLow() {
      isMemoryLow = true;
      wake();
    },
    async run(signal) {
      let regularMs = Number.NEGATIVE_INFINITY;
      while (!signal.aborted) {
        const memoryOnly = isMemoryLow && clock.monotonicMs() - regularMs < MONITOR_MS;
        isMemoryLow = false;
        try {
          if (!memoryOnly) regularMs = clock.monotonicMs();
          const evicted = await look(memoryOnly, signal);
          if (evicted.length > 0) {
            await cleanedUp(evicted, signal);
            deps.beat?.();
            continue;
          }
        } catch (error) {
          if (signal.aborted) return;
          log.warn({ err: error }, 'the node could not be looked at for pressure');
        }
        deps.beat?.();
        await pause(signal);
      }
    },
  };
}

function indexPods({ pods }: Summary): PodStatsOf {
  const byUid = new Map(pods.map((one) => [one.podRef.uid, one]));
  return (uid) => byUid.get(uid);
}
