import type { Pod } from '../../src/kube/types.ts';
import type { Serial } from '../../src/runtime/serial.ts';
import type { Allocations } from '../resources/allocation/allocations.ts';
import type { AdmissionChain } from './admission-chain.ts';
import type { Rejection } from './admission-ports.ts';
import type { EventSink } from './ports.ts';
import type { RejectionBackoff } from './rejections.ts';
import type { RuntimeCache } from './runtime-cache.ts';
import { type EngineFeatures, fieldsWithoutEffect } from './unsupported.ts';
import { type PodWork, requestTermination } from './work.ts';

export interface AdmittanceDependencies {
  runtime: Pick<RuntimeCache, 'pod'>;
  rejections: RejectionBackoff;
  admission: AdmissionChain;
  allocations: Allocations;
  /** One pod at a time: two that are admitted at once must not both get the last CPU. */
  oneAtATime: Serial;
  /** A pod was rejected, for this reason. */
  rejected(reason: string): void;
  events: EventSink;
  /** Asked for when a pod is to be admitted: by then the Engine has answered. */
  engineFeatures(): EngineFeatures;
  /** The other pods that hold resources of the node. */
  others(work: PodWork): Pod[];
  works(): PodWork[];
}

/** While a pod is kept waiting: room is made by others, and nobody tells. */
const RECHECK_MS = 5_000;

/** The door of the node: a pod comes in, is rejected, or, made anew right after a rejection, is kept waiting before it. */
export function createAdmittance(deps: AdmittanceDependencies) {
  const { runtime, rejections, events, allocations } = deps;

  function letIn(work: PodWork, runs: boolean): void {
    work.isAdmitted = true;
    work.waiting = new Map();
    rejections.admitted(work.pod);
    const inVain = runs ? [] : fieldsWithoutEffect(work.pod, deps.engineFeatures());
    if (inVain.length > 0)
      events.event(work.pod, 'Warning', 'FieldsWithoutEffect', `without effect on this node: ${inVain.join('; ')}`);
  }

  /** It would only be made anew: it stays Pending, and comes in if there is room meanwhile. */
  function keepWaiting(work: PodWork, refusal: Rejection, holdMs: number): number {
    const seconds = Math.ceil(holdMs / 1000);
    const message = `${refusal.message} (its controller's last pod was rejected too: this one waits ${seconds}s)`;
    if (!work.isKeptWaiting) events.event(work.pod, 'Warning', refusal.reason, message);
    work.isKeptWaiting = true;
    const waiting = work.pod.spec.containers.map(({ name }) => [name, { ...refusal, message }] as const);
    work.waiting = new Map(waiting);
    return Math.min(holdMs, RECHECK_MS);
  }

  /** By an earlier life of this agent: something of it is here, or was set aside for it. */
  function wasAdmitted({ uid, pod }: PodWork): boolean {
    const { containers, sandboxes } = runtime.pod(uid);
    const isAcknowledged = pod.status?.startTime !== undefined && allocations.isAllocated(uid);
    return containers.length > 0 || sandboxes.length > 0 || isAcknowledged;
  }

  function runningNames(uid: string): string[] {
    return runtime.pod(uid).containers.flatMap(({ name, state }) => (state === 'running' ? [name] : []));
  }

  /** It holds nothing any more, though its containers may still be there to be looked at. */
  function isOver({ pod, state }: PodWork): boolean {
    const phase = pod.status?.phase;
    return state === 'terminated' || state === 'finished' || phase === 'Succeeded' || phase === 'Failed';
  }

  /** All that runs has its share before anything new gets one. */
  async function takeOver(): Promise<void> {
    for (const work of deps.works()) {
      if (work.isAdmitted || work.isOrphan || isOver(work) || !wasAdmitted(work)) continue;
      if (!allocations.isAllocated(work.uid)) allocations.allocate(work.pod);
      const pod = allocations.allocatedPod(work.pod);
      allocations.assumeActuated(pod, runningNames(work.uid));
      await deps.admission.readmit(pod);
      letIn(work, true);
    }
  }

  function judge(work: PodWork, refusal: Rejection): number {
    const holdMs = rejections.holdMs(work.pod, work.firstSeenMonotonicMs);
    if (holdMs > 0) return keepWaiting(work, refusal, holdMs);
    reject(work, refusal);
    return 0;
  }

  /** Also of a pod that was let in, before anything of it ran. */
  function reject(work: PodWork, refusal: Rejection): void {
    const { pod } = work;
    rejections.rejected(pod, work.firstSeenMonotonicMs);
    const message = `Pod was rejected: ${refusal.message}`;
    work.override = { phase: 'Failed', reason: refusal.reason, message };
    events.event(pod, 'Warning', refusal.reason, refusal.message);
    deps.rejected(refusal.reason);
    requestTermination(work, 0);
  }

  return {
    reject,

    /** @returns undefined when the pod may run; else in how many milliseconds to ask again: 0 when it is on its way out. */
    async admit(work: PodWork, signal: AbortSignal): Promise<number | undefined> {
      if (work.isAdmitted) return undefined;
      return deps.oneAtATime(async () => {
        await takeOver();
        signal.throwIfAborted();
        if (work.isAdmitted) return undefined;
        // It may have been admitted before the agent was restarted, and resized since.
        const pod = allocations.allocatedPod(work.pod);
        const refusal = await deps.admission.admit(pod, deps.others(work), signal);
        if (refusal) return judge(work, refusal);
        allocations.allocate(pod);
        letIn(work, false);
        return undefined;
      }, signal);
    },
  };
}
