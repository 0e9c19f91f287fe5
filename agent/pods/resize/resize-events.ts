import type { Container, Pod } from '../../../src/kube/types.ts';
import type { EventSink } from '../ports.ts';

type ResizeReason = 'ResizeStarted' | 'ResizeCompleted' | 'ResizeError' | 'ResizeDeferred' | 'ResizeInfeasible';

const WORDS: Record<ResizeReason, readonly ['Normal' | 'Warning', string]> = {
  ResizeStarted: ['Normal', 'started'],
  ResizeCompleted: ['Normal', 'completed'],
  ResizeError: ['Warning', 'error'],
  ResizeDeferred: ['Warning', 'Deferred'],
  ResizeInfeasible: ['Warning', 'Infeasible'],
};

/** `Pod resize started: {"containers":[…],"generation":2}`: what was asked of each container, and of the pod. */
export function emitResizeEvent(
  events: EventSink,
  reason: ResizeReason,
  pod: Pod,
  generation: number,
  error?: string,
): void {
  const [type, word] = WORDS[reason];
  const list = (containers: readonly Container[] = []) =>
    containers.map(({ name, resources }) => ({ name, resources: resources ?? {} }));
  const summary = {
    ...(pod.spec.resources && { resources: pod.spec.resources }),
    ...(pod.spec.initContainers?.length && { initContainers: list(pod.spec.initContainers) }),
    containers: list(pod.spec.containers),
    generation,
    ...(error && { error }),
  };
  events.event(pod, type, reason, `Pod resize ${word}: ${JSON.stringify(summary)}`);
}
