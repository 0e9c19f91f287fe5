import type { ContainerState, ContainerStatus, Pod } from '../../../src/kube/types.ts';
import { age } from '../columns.ts';

/** The words of `kubectl get pods` (sheet §4). */

export interface PodSummary {
  /** `1/2`: ready containers of those that keep running (sidecars count). */
  readonly ready: string;
  readonly status: string;
  /** `3` or `3 (5m ago)`. */
  readonly restarts: string;
}

export function summarizePod(pod: Pod, nowMs: number): PodSummary {
  const status = pod.status ?? {};
  const sidecars = new Set(
    (pod.spec.initContainers ?? []).filter((one) => one.restartPolicy === 'Always').map((one) => one.name),
  );
  const statuses = status.containerStatuses ?? [];
  const initStatuses = status.initContainerStatuses ?? [];
  const sidecarStatuses = initStatuses.filter((one) => sidecars.has(one.name));
  const initText = describeInitialization(pod, initStatuses, sidecars);
  const isInitialized = initText === undefined || hasCondition(pod, 'Initialized');
  const running = statuses.filter((one) => one.ready && one.state?.running);
  const readyCount =
    sidecarStatuses.filter((one) => isStartedSidecar(one) && one.ready).length + (isInitialized ? running.length : 0);
  const counted = isInitialized ? [...sidecarStatuses, ...statuses] : initStatuses;
  return {
    ready: `${readyCount}/${(pod.spec.containers ?? []).length + sidecars.size}`,
    status: isInitialized ? describePod(pod, initText) : withDeletion(pod, initText!),
    restarts: describeRestarts(counted, nowMs),
  };
}

const isStartedSidecar = (status: ContainerStatus) => status.started === true && !status.state?.terminated;

function hasCondition(pod: Pod, type: string): boolean {
  return (pod.status?.conditions ?? []).some((one) => one.type === type && one.status === 'True');
}

/** The first init container that is not done; undefined when all are. */
function describeInitialization(
  pod: Pod,
  statuses: readonly ContainerStatus[],
  sidecars: ReadonlySet<string>,
): string | undefined {
  for (const [index, status] of statuses.entries()) {
    const { terminated, waiting } = status.state ?? {};
    if (terminated?.exitCode === 0) continue;
    if (sidecars.has(status.name) && isStartedSidecar(status)) continue;
    if (terminated) return `Init:${terminated.reason || describeExit(terminated)}`;
    if (waiting?.reason && waiting.reason !== 'PodInitializing') return `Init:${waiting.reason}`;
    return `Init:${index}/${(pod.spec.initContainers ?? []).length}`;
  }
  return undefined;
}

function describeExit(terminated: NonNullable<ContainerState['terminated']>): string {
  return terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`;
}

function describePod(pod: Pod, initText: string | undefined): string {
  const status = pod.status ?? {};
  let text = status.reason || status.phase || '';
  if ((status.conditions ?? []).some((one) => one.type === 'PodScheduled' && one.reason === 'SchedulingGated'))
    text = 'SchedulingGated';
  text = initText ?? text;
  let isRunning = false;
  // From the last to the first: the first container's reason wins.
  for (const container of (status.containerStatuses ?? []).toReversed()) {
    const { waiting, terminated, running } = container.state ?? {};
    if (waiting?.reason) text = waiting.reason;
    else if (terminated) text = terminated.reason || describeExit(terminated);
    else if (container.ready && running) isRunning = true;
  }
  if (text === 'Completed' && isRunning) text = hasCondition(pod, 'Ready') ? 'Running' : 'NotReady';
  return withDeletion(pod, text);
}

function withDeletion(pod: Pod, text: string): string {
  if (!pod.metadata.deletionTimestamp) return text;
  if (pod.status?.reason === 'NodeLost') return 'Unknown';
  const isOver = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  return isOver ? text : 'Terminating';
}

function describeRestarts(statuses: readonly ContainerStatus[], nowMs: number): string {
  const count = statuses.reduce((sum, one) => sum + (one.restartCount ?? 0), 0);
  const last = statuses
    .map((one) => one.lastState?.terminated?.finishedAt)
    .filter((finishedAt) => finishedAt !== undefined && finishedAt !== null)
    .sort()
    .at(-1);
  return count > 0 && last ? `${count} (${age(last, nowMs)} ago)` : `${count}`;
}
