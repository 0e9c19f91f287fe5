import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createKeyedQueue } from '../../src/runtime/keyed-queue.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { podKey } from '../containers/identity.ts';
import { isStaticPod } from './annotations.ts';
import { createEndWaiters } from './end-waiters.ts';
import type { Passes } from './pass.ts';
import type { AgentMetrics } from './ports.ts';
import type { PodVerdict } from './verdict.ts';
import { asksForSomethingElse, createPodWork, ownGraceSeconds, type PodWork, requestTermination } from './work.ts';

export interface WorkerOptions {
  /** `syncFrequency`: a pod is looked at this often (and up to half as long again) when nothing happens. */
  resyncMs: number;
}

export interface WorkerDependencies {
  passes(): Passes;
  /** Nothing of the pod is left: what is remembered of it elsewhere may go too. */
  onForgotten(uid: string): void;
  metrics: Pick<AgentMetrics, 'podWorker' | 'podWorkerStarted' | 'podRestarted' | 'podAdded'>;
  clock: Clock;
  log: Logger;
  random?: () => number;
}

/** One serial worker per pod UID: the latest word wins, and a kill is never taken back (DESIGN §3.3). */
export interface PodWorkers {
  /** A source has this pod (now in this version). */
  update(pod: Pod): void;
  /** No source has it any more. */
  remove(uid: string): void;
  /** The runtime has containers of a pod that no source knows. */
  adoptOrphan(pod: Pod): void;
  /**
   * The node fails the pod. Resolves when its last container has ended (at once for a pod that has none left); rejects with the signal's
   * reason when the workers stop before. A verdict that stands is kept; the grace only shrinks.
   */
  condemn(uid: string, verdict: PodVerdict): Promise<void>;
  /** What its volumes show has changed. */
  refresh(uid: string): void;
  /** Something about the pod may have changed. */
  poke(uid: string): void;
  get(uid: string): PodWork | undefined;
  list(): PodWork[];
  run(signal: AbortSignal): Promise<void>;
}

/** What runs without a source gets the least grace (upstream's SyncTerminatingRuntimePod). */
const ORPHAN_GRACE_SECONDS = 1;
/** Nor does a pod that was deleted by force (grace period 0) get more. */
const FORCED_GRACE_SECONDS = 1;
const RETRY = { initialMs: 1_000, maxMs: 10_000 };

export function createPodWorkers(options: WorkerOptions, deps: WorkerDependencies): PodWorkers {
  const { clock, log } = deps;
  const random = deps.random ?? Math.random;
  const works = new Map<string, PodWork>();
  const ends = createEndWaiters();
  const queue = createKeyedQueue({
    concurrency: Number.POSITIVE_INFINITY,
    clock,
    retry: RETRY,
    process,
    onError(uid, error, delayMs) {
      const work = works.get(uid);
      const pod = work && podKey(work.pod);
      log.warn({ pod, uid, state: work?.state, retryMs: delayMs, err: error }, 'pod pass failed, will be retried');
    },
  });

  /** An earlier static pod of the same name that is not yet gone: the two must not run at once. */
  function predecessor(work: PodWork): PodWork | undefined {
    if (!isStaticPod(work.pod)) return undefined;
    let isEarlier = true;
    for (const other of works.values()) {
      if (other === work) isEarlier = false;
      // What is on its way out waits for nobody, so nobody waits for ever.
      else if ((isEarlier || other.isGone) && podKey(other.pod) === podKey(work.pod)) return other;
    }
    return undefined;
  }

  async function process(uid: string, signal: AbortSignal): Promise<void> {
    const work = works.get(uid);
    if (!work) return;
    const { state } = work;
    if (state === 'syncing' && predecessor(work)) return;
    const startedMs = clock.monotonicMs();
    if (!work.hasBegun) deps.metrics.podWorkerStarted((startedMs - work.firstSeenMonotonicMs) / 1000);
    work.hasBegun = true;
    const own = work.abort.signal;
    const both = AbortSignal.any([signal, own]);
    let nextMs: number | undefined;
    try {
      nextMs = await pass(work, both);
    } catch (error) {
      // A pass that was overtaken did not fail: the next one follows at once.
      if (own.aborted && !signal.aborted) nextMs = 0;
      else throw error;
    } finally {
      deps.metrics.podWorker(state === 'syncing' ? 'sync' : 'kill', (clock.monotonicMs() - startedMs) / 1000);
    }
    if (state === 'terminating' && work.state !== state) ends.ended(uid);
    if (!works.has(uid)) return;
    if (nextMs === 0 || work.state !== state) queue.add(uid);
    else if (nextMs !== undefined) queue.addAfter(uid, nextMs);
    if (work.state !== 'finished') queue.addAfter(uid, options.resyncMs * (1 + random() / 2));
  }

  async function pass(work: PodWork, signal: AbortSignal): Promise<number | undefined> {
    const passes = deps.passes();
    switch (work.state) {
      case 'syncing':
        return passes.sync(work, signal);
      case 'terminating':
        return passes.terminate(work, signal);
      case 'terminated':
        return passes.release(work, signal);
      case 'finished': {
        if (!work.isGone) return undefined;
        await passes.forget(work, signal);
        works.delete(work.uid);
        deps.onForgotten(work.uid);
        if (work.successor) workers.update(work.successor);
        // A static pod of the same name may have waited for this one.
        for (const other of works.values()) if (podKey(other.pod) === podKey(work.pod)) queue.add(other.uid);
        return undefined;
      }
    }
  }

  const workers: PodWorkers = {
    update(pod) {
      const { uid, deletionTimestamp } = pod.metadata;
      let work = works.get(uid);
      if (work?.isGone) {
        if (!work.successor && !work.isOrphan) deps.metrics.podRestarted(isStaticPod(pod));
        work.successor = pod;
        return;
      }
      const old = work?.pod;
      if (!work) {
        work = createPodWork(pod, clock.monotonicMs());
        works.set(uid, work);
        deps.metrics.podAdded(pod.spec.containers.length);
      }
      work.pod = pod;
      if (deletionTimestamp) requestTermination(work, ownGraceSeconds(pod));
      if (!old || asksForSomethingElse(old, pod)) workers.refresh(uid);
    },
    remove(uid) {
      const work = works.get(uid);
      if (!work) return;
      work.successor = undefined;
      if (work.isGone) return;
      work.isGone = true;
      // Taken from the API while it still runs: somebody has deleted it by force.
      const graceSeconds = ownGraceSeconds(work.pod);
      requestTermination(work, isStaticPod(work.pod) ? graceSeconds : Math.min(graceSeconds, FORCED_GRACE_SECONDS));
      queue.add(uid);
    },
    adoptOrphan(pod) {
      const { uid } = pod.metadata;
      if (works.has(uid)) return;
      const work = createPodWork(pod, clock.monotonicMs());
      work.isGone = true;
      work.isOrphan = true;
      requestTermination(work, ORPHAN_GRACE_SECONDS);
      works.set(uid, work);
      queue.add(uid);
    },
    condemn(uid, verdict) {
      const work = works.get(uid);
      if (!work || work.state === 'terminated' || work.state === 'finished') return Promise.resolve();
      work.override ??= { ...verdict, wasAdmitted: true };
      const graceSeconds = ownGraceSeconds(work.pod);
      requestTermination(work, Math.min(verdict.graceSeconds ?? graceSeconds, graceSeconds));
      queue.add(uid);
      return ends.wait(uid);
    },
    refresh(uid) {
      const work = works.get(uid);
      if (!work) return;
      work.volumesRefreshedMonotonicMs = undefined;
      queue.add(uid);
    },
    poke(uid) {
      if (works.has(uid)) queue.add(uid);
    },
    get: (uid) => works.get(uid),
    list: () => [...works.values()],
    async run(signal) {
      signal.addEventListener('abort', () => ends.abandon(signal.reason), { once: true });
      await queue.run(signal);
    },
  };
  return workers;
}
