import type { Pod } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { Serial } from '../../../src/runtime/serial.ts';
import { podKey } from '../../containers/identity.ts';
import type { Allocations } from '../../resources/allocation/allocations.ts';
import type { EventSink, PodRuntimeStatus, ResizeConditions } from '../ports.ts';
import type { PodWork } from '../work.ts';
import { computeContainerResize } from './container-resize.ts';
import { decideResize, type ResizeRefusal, type ResizingNode } from './decision.ts';
import { sortPendingResizes } from './order.ts';
import { emitResizeEvent } from './resize-events.ts';

/** What made room, or asked for some: labels of kubelet_pod_deferred_accepted_resizes_total. */
export type RetryTrigger = 'pod_resized' | 'pod_terminated' | 'periodic_retry';

export interface ResizeMetrics {
  /** A spec asks for other resources than were allocated. */
  requested(allocated: Pod, asked: Pod): void;
  infeasible(detail: string): void;
  deferredAccepted(trigger: RetryTrigger): void;
  actuated(milliseconds: number, success: boolean): void;
}

export interface ResizeDependencies {
  allocations: Allocations;
  oneAtATime: Serial;
  node(): ResizingNode;
  works(): PodWork[];
  others(work: PodWork): Pod[];
  /** The pod's worker has something to do, or to tell. */
  poke(uid: string): void;
  events: EventSink;
  metrics: ResizeMetrics;
  clock: Clock;
  log: Logger;
}

/** Resizes of this node's pods: which are asked for, refused for now, allocated and under way. */
export interface Resizes {
  /**
   * Looks whether the pod's spec asks for something else than it has, and decides. Cheap when nothing has changed; others
   * that wait are looked at in their order when this one asks anew.
   */
  consider(work: PodWork, signal: AbortSignal): Promise<void>;
  /** Room may have been made. Never rejects. */
  retry(trigger: RetryTrigger): Promise<void>;
  /** Compares what runs with what was allocated, and tells of a resize that is done. */
  observe(work: PodWork, allocated: Pod, runtime: PodRuntimeStatus): void;
  /** The Engine or the kernel has refused; tried again later. */
  failed(work: PodWork, allocated: Pod, message: string): void;
  conditions(uid: string): ResizeConditions;
  /** `deferred`, `infeasible` and in progress, counted. */
  counts(): { deferred: number; infeasible: number; inProgress: number };
  forget(uid: string): void;
  /** Tries pending ones again now and then, until aborted. */
  run(signal: AbortSignal): Promise<void>;
}

interface Entry {
  /** The spec's resources that were looked at last. */
  asked?: Pod;
  pending?: ResizeRefusal & { generation: number | undefined; sinceMs: number };
  inProgress?: { generation: number | undefined; error?: string };
}

const FIRST_RETRY_MS = 30_000;
const RETRY_MS = 180_000;

export function createResizes(deps: ResizeDependencies): Resizes {
  const { allocations, events, clock, log, metrics } = deps;
  const entries = new Map<string, Entry>();

  function entryOf(uid: string): Entry {
    const known = entries.get(uid);
    if (known) return known;
    const made: Entry = {};
    entries.set(uid, made);
    return made;
  }

  /** Pods that ask for something else than they have; those that never will get it only when they ask anew. */
  function waiting(): { work: PodWork; asked: Pod; allocated: Pod; pendingSinceMs: number | undefined }[] {
    return deps.works().flatMap((work) => {
      const { pod: asked, uid } = work;
      const allocated = allocations.allocatedPod(asked);
      const entry = entries.get(uid);
      if (!work.isAdmitted || work.state !== 'syncing' || allocated === asked) return [];
      const isSettled = entry?.pending?.reason === 'Infeasible' && entry.asked === asked;
      return isSettled ? [] : [{ work, asked, allocated, pendingSinceMs: entry?.pending?.sinceMs }];
    });
  }

  /** @returns whether something changed that the pod's status shows. */
  async function decide(work: PodWork, trigger: RetryTrigger): Promise<boolean> {
    const asked = work.pod;
    const allocated = allocations.allocatedPod(asked);
    const entry = entryOf(work.uid);
    if (allocated === asked) return clearPending(entry);
    if (entry.asked !== asked && !isSameRequest(entry.asked, asked)) metrics.requested(allocated, asked);
    entry.asked = asked;
    const refusal = decideResize(asked, allocated, deps.others(work), deps.node());
    if (refusal) return refuse(work, entry, refusal);
    await allocations.reallocate(asked);
    if (entry.pending?.reason === 'Deferred') metrics.deferredAccepted(trigger);
    clearPending(entry);
    const { generation } = asked.metadata;
    entry.inProgress = { generation };
    emitResizeEvent(events, 'ResizeStarted', asked, generation ?? 0);
    return true;
  }

  function refuse({ pod }: PodWork, entry: Entry, refusal: ResizeRefusal): boolean {
    const { generation } = pod.metadata;
    const before = entry.pending;
    const isNews =
      before?.reason !== refusal.reason || before.message !== refusal.message || before.generation !== generation;
    if (!isNews) return false;
    entry.pending = { ...refusal, generation, sinceMs: before?.sinceMs ?? clock.monotonicMs() };
    if (refusal.reason === 'Infeasible') metrics.infeasible(refusal.detail ?? '');
    emitResizeEvent(events, `Resize${refusal.reason}`, pod, generation ?? 0, refusal.message);
    return true;
  }

  function clearPending(entry: Entry): boolean {
    const was = entry.pending !== undefined;
    delete entry.pending;
    return was;
  }

  async function decideAll(trigger: RetryTrigger): Promise<void> {
    for (const { work } of sortPendingResizes(waiting()))
      try {
        if (await decide(work, trigger)) deps.poke(work.uid);
      } catch (error) {
        log.warn({ pod: podKey(work.pod), err: error }, 'a resize could not be allocated, will be tried again');
      }
  }

  function retry(trigger: RetryTrigger): Promise<void> {
    if (waiting().length === 0) return Promise.resolve();
    return deps
      .oneAtATime(() => decideAll(trigger))
      .catch((error) => log.warn({ err: error }, 'pending resizes were not looked at'));
  }

  return {
    retry,
    async consider(work, signal) {
      const { pod, uid } = work;
      const entry = entries.get(uid);
      if (allocations.allocatedPod(pod) === pod) {
        if (entry) clearPending(entry);
        return;
      }
      if (entry?.asked === pod) return;
      if (entry?.pending && isSameRequest(entry.asked, pod) && entry.pending.generation === pod.metadata.generation) {
        entry.asked = pod;
        return;
      }
      // Whoever makes room for a critical pod may be waiting for this very one to end.
      await deps.oneAtATime(() => decideAll('pod_resized'), signal);
    },
    observe(work, allocated, runtime) {
      // What ends has nothing left to be resized, which is no success.
      if (work.state !== 'syncing') return;
      const isUnderWay = isResizeUnderWay(allocated, runtime, allocations);
      const entry = entries.get(work.uid);
      if (isUnderWay) entryOf(work.uid).inProgress ??= { generation: work.pod.metadata.generation };
      else if (entry?.inProgress) {
        emitResizeEvent(events, 'ResizeCompleted', allocated, entry.inProgress.generation ?? 0);
        delete entry.inProgress;
        // What shrank has made room.
        void retry('pod_resized');
      }
    },
    failed(work, allocated, message) {
      const entry = entryOf(work.uid);
      const generation = entry.inProgress?.generation ?? work.pod.metadata.generation;
      if (entry.inProgress?.error !== message)
        emitResizeEvent(events, 'ResizeError', allocated, generation ?? 0, message);
      entry.inProgress = { generation, error: message };
    },
    conditions(uid) {
      const { pending, inProgress } = entries.get(uid) ?? {};
      return { ...(pending && { pending }), ...(inProgress && { inProgress }) };
    },
    counts() {
      const all = [...entries.values()];
      const pending = (reason: string) => all.filter((entry) => entry.pending?.reason === reason).length;
      return {
        deferred: pending('Deferred'),
        infeasible: pending('Infeasible'),
        inProgress: all.filter(({ inProgress }) => inProgress).length,
      };
    },
    forget: (uid) => void entries.delete(uid),
    async run(signal) {
      try {
        await clock.sleep(FIRST_RETRY_MS, signal);
        while (!signal.aborted) {
          await retry('periodic_retry');
          await clock.sleep(RETRY_MS, signal);
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
  };
}

/** Whether anything that runs has other resources than were allocated to it. */
export function isResizeUnderWay(
  allocated: Pod,
  runtime: PodRuntimeStatus,
  allocations: Pick<Allocations, 'actuated' | 'isPodBehind'>,
): boolean {
  const { uid } = allocated.metadata;
  const running = new Set(runtime.containers.flatMap(({ name, state }) => (state === 'running' ? [name] : [])));
  const { initContainers = [], containers } = allocated.spec;
  const isBehind = [...initContainers, ...containers].some(
    (container) =>
      running.has(container.name) && computeContainerResize(container, allocations.actuated(uid, container.name)),
  );
  return isBehind || (running.size > 0 && allocations.isPodBehind(allocated));
}

function isSameRequest(one: Pod | undefined, other: Pod): boolean {
  if (!one) return false;
  const resources = ({ spec }: Pod) =>
    JSON.stringify([
      spec.resources,
      [...(spec.initContainers ?? []), ...spec.containers].map((container) => container.resources),
    ]);
  return resources(one) === resources(other);
}
