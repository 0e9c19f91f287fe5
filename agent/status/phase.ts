import type { Container, ContainerStatus, Pod, PodStatus } from '../../src/kube/types.ts';
import { isSidecar, restartPolicyOf, restartsAfterExit } from '../containers/restart.ts';
import { RESTARTING_ALL_CONTAINERS } from '../pods/restart-all.ts';

export type PodPhase = NonNullable<PodStatus['phase']>;

interface Counts {
  /** Init containers that have not done their part. */
  pending: number;
  /** Plain init containers that failed and may not run again. */
  failedForGood: number;
  running: number;
  waiting: number;
  stopped: number;
  succeeded: number;
  unknown: number;
}

export function isTerminalPhase(phase: string | undefined): phase is 'Succeeded' | 'Failed' {
  return phase === 'Succeeded' || phase === 'Failed';
}

export function isStaticPod(pod: Pod): boolean {
  const source = pod.metadata.annotations?.['kubernetes.io/config.source'];
  return source !== undefined && source !== 'api';
}

/** Whether the status shows that the container has ever run. */
export function hasBegun(status: ContainerStatus | undefined): boolean {
  return (
    status?.state?.running !== undefined ||
    status?.state?.terminated !== undefined ||
    status?.lastState?.terminated !== undefined
  );
}

/** Removed for RestartAllContainers, and not started again yet. */
function isBeingReset({ state }: ContainerStatus): boolean {
  return state?.waiting?.reason === RESTARTING_ALL_CONTAINERS;
}

/** The phase by the containers alone (sheet §13.1, first match wins); `terminal`: the worker starts nothing any more. */
export function computePhase(
  pod: Pod,
  regular: readonly ContainerStatus[],
  init: readonly ContainerStatus[],
  terminal: boolean,
): PodPhase {
  const count = countContainers(pod, regular, init);
  const everStarted = regular.some(hasBegun);
  const { running, stopped, succeeded, unknown } = count;
  if (!terminal && [...init, ...regular].some(isBeingReset)) return everStarted ? 'Running' : 'Pending';
  if (count.failedForGood > 0) return 'Failed';
  if (count.pending > 0 && !everStarted) return 'Pending';
  if (count.waiting > 0) return 'Pending';
  if (running > 0 && unknown === 0) return 'Running';
  if (running === 0 && stopped > 0 && unknown === 0) {
    if (terminal && !isStaticPod(pod)) return stopped === succeeded ? 'Succeeded' : 'Failed';
    return phaseOfStopped(pod, regular, stopped === succeeded);
  }
  return 'Pending';
}

function phaseOfStopped(pod: Pod, regular: readonly ContainerStatus[], allSucceeded: boolean): PodPhase {
  const policies = new Set(pod.spec.containers.map((container) => restartPolicyOf(pod, container)));
  if (policies.size === 1 && policies.has('Always')) return 'Running';
  const anyRestarts = pod.spec.containers.some((container) => {
    const { state, lastState } = regular.find(({ name }) => name === container.name) ?? {};
    const ended = (state?.terminated ?? lastState?.terminated)?.exitCode;
    if (ended === undefined) return false;
    // What waits after an end waits for its next run, whatever that end was.
    const waits = state?.waiting !== undefined && restartPolicyOf(pod, container) !== 'Never';
    return waits || restartsAfterExit(pod, container, ended);
  });
  if (anyRestarts) return 'Running';
  return allSucceeded ? 'Succeeded' : 'Failed';
}

function countContainers(pod: Pod, regular: readonly ContainerStatus[], init: readonly ContainerStatus[]): Counts {
  const count: Counts = { pending: 0, failedForGood: 0, running: 0, waiting: 0, stopped: 0, succeeded: 0, unknown: 0 };
  const find = (statuses: readonly ContainerStatus[], { name }: Container) => statuses.find((one) => one.name === name);
  for (const container of pod.spec.initContainers ?? [])
    if (isSidecar(container)) countSidecar(find(init, container), count);
    else countPlainInit(pod, container, find(init, container), count);
  for (const container of pod.spec.containers) {
    const { state, lastState } = find(regular, container) ?? {};
    if (state?.running) count.running++;
    else if (state?.terminated) {
      count.stopped++;
      if (state.terminated.exitCode === 0) count.succeeded++;
    } else if (state?.waiting) {
      if (lastState?.terminated) count.stopped++;
      else count.waiting++;
    } else count.unknown++;
  }
  return count;
}

function countPlainInit(pod: Pod, container: Container, status: ContainerStatus | undefined, count: Counts) {
  const ended = status?.state?.terminated ?? (status?.state?.waiting ? status.lastState?.terminated : undefined);
  if (!ended) count.pending++;
  // What was ended for the restart of all did not fail.
  else if (ended.reason === RESTARTING_ALL_CONTAINERS) count.pending++;
  else if (ended.exitCode !== 0 && !restartsAfterExit(pod, container, ended.exitCode)) count.failedForGood++;
}

function countSidecar(status: ContainerStatus | undefined, count: Counts) {
  const { state, lastState, started } = status ?? {};
  if (state?.running) {
    count.running++;
    if (!started) count.pending++;
  } else if (state?.waiting) {
    if (lastState?.terminated) return;
    count.pending++;
    count.waiting++;
  } else if (!state?.terminated) {
    count.unknown++;
    if (status) count.pending++;
  }
}
