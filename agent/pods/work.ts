import type { Pod } from '../../src/kube/types.ts';
import type { WaitingReason } from './ports.ts';
import type { PodVerdict } from './verdict.ts';

/**
 * A pod's life with its worker. Only forwards.
 *
 *     syncing ─▶ terminating ─▶ terminated ─▶ finished ─▶ (dropped when it left its source)
 *              deleted, over,    all containers  volumes and
 *              rejected, gone    ended           cgroup gone
 */
export type WorkState = 'syncing' | 'terminating' | 'terminated' | 'finished';

export interface PodWork {
  readonly uid: string;
  /** As the source gave it last. */
  pod: Pod;
  state: WorkState;
  /** It has left its source: nothing of it is to stay. */
  isGone: boolean;
  /** Found in the runtime, known to no source. */
  isOrphan: boolean;
  /** The very same pod came back into its source while it was being removed: it begins anew when this life is over. */
  successor: Pod | undefined;
  isAdmitted: boolean;
  /** It cannot be admitted and is not rejected yet; that was told. */
  isKeptWaiting: boolean;
  /** The worker's own verdict on the pod. */
  override: PodVerdict | undefined;
  /** What the last pass could not start. */
  waiting: ReadonlyMap<string, WaitingReason>;
  /** Grace of the termination under way or asked for; may only shrink. */
  graceSeconds: number | undefined;
  /** Aborts the pass under way. */
  abort: AbortController;
  firstSeenMonotonicMs: number;
  hasStarted: boolean;
  /** Its worker has had its first pass. */
  hasBegun: boolean;
  volumesRefreshedMonotonicMs: number | undefined;
}

export function createPodWork(pod: Pod, nowMonotonicMs: number): PodWork {
  return {
    uid: pod.metadata.uid,
    pod,
    state: 'syncing',
    isGone: false,
    isOrphan: false,
    successor: undefined,
    isAdmitted: false,
    isKeptWaiting: false,
    override: undefined,
    waiting: new Map(),
    graceSeconds: undefined,
    abort: new AbortController(),
    firstSeenMonotonicMs: nowMonotonicMs,
    hasStarted: false,
    hasBegun: false,
    volumesRefreshedMonotonicMs: undefined,
  };
}

/** The grace that the pod itself asks for. */
export function ownGraceSeconds(pod: Pod): number {
  return pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
}

/**
 * Turns the pod towards its end. A pass that would go on starting things is aborted; a termination under way only when
 * the new grace is shorter.
 */
export function requestTermination(work: PodWork, graceSeconds: number): void {
  const shorter = work.graceSeconds === undefined || graceSeconds < work.graceSeconds;
  if (shorter) work.graceSeconds = graceSeconds;
  if (work.state === 'syncing') work.state = 'terminating';
  else if (work.state !== 'terminating' || !shorter) return;
  work.abort.abort(new Error('the pod is being terminated'));
  work.abort = new AbortController();
}

/**
 * Whether the source's new version asks for anything: status and bookkeeping of the API do not, but for the conditions of others that its
 * readiness waits for.
 */
export function asksForSomethingElse(old: Pod, pod: Pod): boolean {
  const gates = ({ spec, status }: Pod) =>
    spec.readinessGates?.map(
      ({ conditionType }) => status?.conditions?.find(({ type }) => type === conditionType)?.status,
    );
  const essence = ({ metadata, spec, status }: Pod) =>
    JSON.stringify([
      gates({ metadata, spec, status }),
      metadata.labels,
      metadata.annotations,
      metadata.deletionTimestamp,
      metadata.deletionGracePeriodSeconds,
      spec,
    ]);
  return essence(old) !== essence(pod);
}
