import type { Pod } from '../../src/kube/types.ts';
import type { AdmitPod, EventSink } from './ports.ts';
import type { RejectionBackoff } from './rejections.ts';
import type { RuntimeCache } from './runtime-cache.ts';
import { type EngineFeatures, fieldsWithoutEffect, refuseUnsupported } from './unsupported.ts';
import { type PodWork, requestTermination } from './work.ts';

export interface AdmittanceDependencies {
  runtime: Pick<RuntimeCache, 'pod'>;
  rejections: RejectionBackoff;
  admit: AdmitPod;
  events: EventSink;
  /** Asked for when a pod is to be admitted: by then the Engine has answered. */
  engineFeatures(): EngineFeatures;
  /** The other pods that hold resources of the node. */
  others(work: PodWork): Pod[];
}

/** While a pod is kept waiting: room is made by others, and nobody tells. */
const RECHECK_MS = 5_000;

/** The door of the node: a pod comes in, is rejected, or, made anew right after a rejection, is kept waiting before it. */
export function createAdmittance(deps: AdmittanceDependencies) {
  const { runtime, rejections, events } = deps;

  function letIn(work: PodWork, engine: EngineFeatures, runs: boolean): void {
    work.isAdmitted = true;
    work.waiting = new Map();
    rejections.admitted(work.pod);
    const inVain = runs ? [] : fieldsWithoutEffect(work.pod, engine);
    if (inVain.length > 0)
      events.event(work.pod, 'Warning', 'FieldsWithoutEffect', `without effect on this node: ${inVain.join('; ')}`);
  }

  /** It would only be made anew: it stays Pending, and comes in if there is room meanwhile. */
  function keepWaiting(work: PodWork, refusal: { reason: string; message: string }, holdMs: number): number {
    const seconds = Math.ceil(holdMs / 1000);
    const message = `${refusal.message} (its controller's last pod was rejected too: this one waits ${seconds}s)`;
    if (!work.isKeptWaiting) events.event(work.pod, 'Warning', refusal.reason, message);
    work.isKeptWaiting = true;
    const waiting = work.pod.spec.containers.map(({ name }) => [name, { ...refusal, message }] as const);
    work.waiting = new Map(waiting);
    return Math.min(holdMs, RECHECK_MS);
  }

  /** @returns undefined when the pod may run; else in how many milliseconds to ask again: 0 when it is on its way out. */
  return function admit(work: PodWork): number | undefined {
    if (work.isAdmitted) return undefined;
    const { pod } = work;
    const observed = runtime.pod(work.uid);
    // What runs already was admitted by an earlier life of this agent.
    const runs = observed.containers.length > 0 || observed.sandboxes.length > 0;
    const engine = deps.engineFeatures();
    const refusal = runs ? undefined : (refuseUnsupported(pod, engine) ?? deps.admit(pod, deps.others(work)));
    if (!refusal) {
      letIn(work, engine, runs);
      return undefined;
    }
    const holdMs = rejections.holdMs(pod, work.firstSeenMonotonicMs);
    if (holdMs > 0) return keepWaiting(work, refusal, holdMs);
    rejections.rejected(pod, work.firstSeenMonotonicMs);
    const message = `Pod was rejected: ${refusal.message}`;
    work.override = { phase: 'Failed', reason: refusal.reason, message };
    events.event(pod, 'Warning', refusal.reason, refusal.message);
    requestTermination(work, 0);
    return 0;
  };
}
