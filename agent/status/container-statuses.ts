import type {
  Container,
  ContainerState,
  ContainerStateTerminated,
  ContainerStatus,
  Pod,
  PodStatus,
  ResourceRequirements,
  VolumeMountStatus,
} from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { isSidecar, matchingRule, restartsAfterExit } from '../containers/restart.ts';
import type { ContainerRuntimeStatus, PodRuntimeStatus, PodStatusInput, ProbeResult } from '../pods/ports.ts';
import { RESTARTING_ALL_CONTAINERS, wasRestartingAll } from '../pods/restart-all.ts';

/** Published probe results by container id (64 hex digits). */
export interface ProbeView {
  startup(containerId: string): ProbeResult | undefined;
  readiness(containerId: string): ProbeResult | undefined;
}

export type ContainerKind = 'init' | 'regular' | 'ephemeral';

const CONTAINER_STATUS_UNKNOWN = 'ContainerStatusUnknown';
const LOST_EXIT_CODE = 137;

/** Statuses of one list of containers: init containers in the order of the spec, the others sorted by name. */
export function computeContainerStatuses(
  input: PodStatusInput,
  kind: ContainerKind,
  probes: ProbeView,
  node: { recursiveReadOnly?: boolean },
): ContainerStatus[] {
  const { pod, previous = pod.status } = input;
  const { containers, before } = listOf(pod, previous, kind);
  const statuses = containers.map((container) => {
    const old = before?.find(({ name }) => name === container.name);
    const status = computeState(input, container, kind, old);
    return {
      ...status,
      ...readiness(container, kind, status, probes, old),
      ...describe(container, status, input.actuated?.(container.name), node.recursiveReadOnly ?? false),
    };
  });
  return kind === 'init' ? statuses : statuses.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

function listOf(pod: Pod, previous: PodStatus | undefined, kind: ContainerKind) {
  const { spec } = pod;
  switch (kind) {
    case 'init':
      return { containers: spec.initContainers ?? [], before: previous?.initContainerStatuses };
    case 'regular':
      return { containers: spec.containers, before: previous?.containerStatuses };
    case 'ephemeral':
      // Its fields are a subset of those of any other container.
      return {
        containers: (spec.ephemeralContainers ?? []) as Container[],
        before: previous?.ephemeralContainerStatuses,
      };
  }
}

/** State, last state and restart count: from the newest two runs, else from what was last published. */
function computeState(
  input: PodStatusInput,
  container: Container,
  kind: ContainerKind,
  old: ContainerStatus | undefined,
): ContainerStatus {
  const runs = input.runtime.containers.filter(({ name }) => name === container.name);
  // Somebody has removed the record of the run that was published: an older one is not news.
  const isStale = (one: ContainerRuntimeStatus) =>
    one.state === 'exited' && old?.containerID !== `docker://${one.id}` && one.restartCount < (old?.restartCount ?? 0);
  const newest = runs.find((one) => !isStale(one));
  const earlier = newest && runs.slice(runs.indexOf(newest) + 1).find(({ state }) => state === 'exited');
  const status = newest ? fromRuntime(newest, old) : withoutRecord(input, container, kind, old);
  if (earlier) status.lastState = stateOf(earlier, undefined);
  else if (newest && old && old.containerID !== status.containerID) {
    // The dead run may have been removed already; what was published of it still holds.
    const ended = old.state?.terminated ?? old.lastState?.terminated;
    if (ended) status.lastState = { terminated: ended };
  } else if (newest && old?.lastState?.terminated) status.lastState = { terminated: old.lastState.terminated };
  return explainWaiting(input, container, kind, status, newest);
}

function fromRuntime(record: ContainerRuntimeStatus, old: ContainerStatus | undefined): ContainerStatus {
  const containerID = `docker://${record.id}`;
  // Nobody can be asked any more when it has ended.
  const user = record.user ? { linux: record.user } : old?.containerID === containerID ? old.user : undefined;
  return {
    name: record.name,
    state: stateOf(record, old),
    lastState: {},
    ready: false,
    restartCount: Math.max(record.restartCount, old?.restartCount ?? 0),
    image: record.image,
    imageID: record.imageId,
    containerID,
    ...(user && { user }),
  };
}

function stateOf(record: ContainerRuntimeStatus, old: ContainerStatus | undefined): ContainerState {
  const containerID = `docker://${record.id}`;
  switch (record.state) {
    case 'running':
      if (record.isStarting) return { waiting: {} };
      return { running: { startedAt: timestamp(record.startedAtMs ?? record.createdAtMs) } };
    case 'exited': {
      const exitCode = record.exitCode ?? LOST_EXIT_CODE;
      const terminated: ContainerStateTerminated = {
        exitCode,
        reason: record.reason ?? (record.oomKilled ? 'OOMKilled' : exitCode === 0 ? 'Completed' : 'Error'),
        startedAt: timestamp(record.startedAtMs ?? record.createdAtMs),
        finishedAt: timestamp(record.finishedAtMs ?? record.startedAtMs ?? record.createdAtMs),
        containerID,
      };
      if (record.message) terminated.message = record.message;
      return { terminated };
    }
    case 'unknown':
      if (old?.state?.running)
        return { terminated: lost('The container could not be located when the pod was terminated') };
      return { waiting: {} };
    case 'created':
      return { waiting: {} };
  }
}

function lost(message: string): ContainerStateTerminated {
  return { exitCode: LOST_EXIT_CODE, reason: CONTAINER_STATUS_UNKNOWN, message };
}

/** The runtime knows nothing of it: never made, or removed by somebody. */
function withoutRecord(
  { pod, previous = pod.status }: PodStatusInput,
  container: Container,
  kind: ContainerKind,
  old: ContainerStatus | undefined,
): ContainerStatus {
  const isReset = old?.state?.waiting?.reason === RESTARTING_ALL_CONTAINERS || wasRestartingAll(previous);
  if (kind !== 'ephemeral' && old && isReset) return beingReset(container, old);
  if (old?.state?.terminated) return { ...old };
  if (kind === 'ephemeral' && old?.state?.running)
    return { ...old, state: { terminated: lost('The container could not be located') } };
  const status: ContainerStatus = {
    name: container.name,
    state: { waiting: { reason: defaultWaitingReason(pod) } },
    lastState: old?.lastState ?? {},
    ready: false,
    restartCount: old?.restartCount ?? 0,
    image: container.image ?? '',
    imageID: '',
  };
  if (old?.state?.running && !old.lastState?.terminated) {
    // It ran and its record is gone: an ending without an exit code, not a container that never started.
    const message = 'The container could not be located when the pod was deleted.  The container used to be Running';
    status.lastState = { terminated: lost(message) };
    if (!pod.metadata.deletionTimestamp) status.restartCount++;
  }
  return status;
}

/** Removed for RestartAllContainers: it waits for its next run. Only how that ended which asked for it is kept. */
function beingReset(container: Container, old: ContainerStatus): ContainerStatus {
  if (old.state?.waiting) return { ...old };
  const { containerID: _, ...kept } = old;
  const message = 'The container is removed because RestartAllContainers in place';
  const reset = { exitCode: LOST_EXIT_CODE, reason: RESTARTING_ALL_CONTAINERS, message };
  const ended = old.state?.terminated;
  const asked = ended && matchingRule(container, ended.exitCode)?.action === 'RestartAllContainers';
  return {
    ...kept,
    state: { waiting: { reason: RESTARTING_ALL_CONTAINERS, message } },
    lastState: { terminated: asked ? ended : reset },
    restartCount: old.restartCount + 1,
  };
}

function defaultWaitingReason(pod: Pod): string {
  return (pod.spec.initContainers?.length ?? 0) > 0 ? 'PodInitializing' : 'ContainerCreating';
}

/** A container that is to start again waits; why, the last sync has told. */
function explainWaiting(
  { pod, waiting, terminal }: PodStatusInput,
  container: Container,
  kind: ContainerKind,
  status: ContainerStatus,
  newest: ContainerRuntimeStatus | undefined,
): ContainerStatus {
  if (status.state?.waiting && !status.state.waiting.reason) {
    const fallback = kind === 'init' ? 'PodInitializing' : 'ContainerCreating';
    status.state = { waiting: { reason: fallback } };
  }
  const why = waiting.get(container.name);
  if (!why || terminal || pod.metadata.deletionTimestamp || newest?.state === 'running') return status;
  const terminated = status.state?.terminated;
  if (terminated) {
    const finishedInit = kind === 'init' && !isSidecar(container) && terminated.exitCode === 0;
    if (finishedInit || !restartsAfterExit(pod, container, terminated.exitCode)) return status;
    status.lastState = { terminated };
  }
  status.state = { waiting: { reason: why.reason, ...(why.message && { message: why.message }) } };
  return status;
}

function readiness(
  container: Container,
  kind: ContainerKind,
  status: ContainerStatus,
  probes: ProbeView,
  old: ContainerStatus | undefined,
): { started?: boolean; ready: boolean } {
  if (kind === 'ephemeral') return { ready: false };
  const id = status.containerID?.replace(/^docker:\/\//, '') ?? '';
  const running = status.state?.running !== undefined;
  if (kind === 'init' && !isSidecar(container))
    return { started: running, ready: status.state?.terminated?.exitCode === 0 };
  // No result at all: the agent has just started, and what was published of this very container holds until there is one.
  const before = old?.containerID === status.containerID ? old : undefined;
  const passed = (result: ProbeResult | undefined, earlier: boolean | undefined) =>
    result === undefined ? earlier === true : result === 'success';
  const started = running && (!container.startupProbe || passed(probes.startup(id), before?.started));
  const ready = started && (!container.readinessProbe || passed(probes.readiness(id), before?.ready));
  return { started, ready };
}

/** What is only repeated from the spec; what a container has been given is told of those that there are. */
function describe(
  container: Container,
  status: ContainerStatus,
  actuated: ResourceRequirements | undefined,
  canRecurse: boolean,
): Partial<ContainerStatus> {
  const { resources, volumeMounts = [], lifecycle } = container;
  const described: Partial<ContainerStatus> = {};
  if (lifecycle?.stopSignal) described.stopSignal = lifecycle.stopSignal;
  if (volumeMounts.length > 0)
    described.volumeMounts = volumeMounts.map(({ name, mountPath, readOnly, recursiveReadOnly }): VolumeMountStatus => {
      const asked = recursiveReadOnly === 'Enabled' || (recursiveReadOnly === 'IfPossible' && canRecurse);
      const mode = asked ? 'Enabled' : 'Disabled';
      return { name, mountPath, ...(readOnly && { readOnly, recursiveReadOnly: mode }) };
    });
  if (status.containerID !== undefined) {
    // What has ended would run with what is allocated now.
    described.resources = (status.state?.running && actuated) ?? resources ?? {};
    if (resources?.requests && Object.keys(resources.requests).length > 0)
      described.allocatedResources = resources.requests;
  }
  return described;
}

/**
 * When a pod has ended for good, whatever is still said to wait did end, with an unknown exit code: every container of
 * a pod that had got past its init containers, and the init containers up to the last that shows a start.
 */
export function endMissingContainers(
  pod: Pod,
  runtime: PodRuntimeStatus,
  regular: ContainerStatus[],
  init: ContainerStatus[],
): void {
  const end = (status: ContainerStatus) => {
    if (status.state?.terminated) return;
    status.state = { terminated: lost('The container could not be located when the pod was terminated') };
    status.ready = false;
    status.started = false;
  };
  if (runtime.containers.some(({ state }) => state === 'running')) return;
  const begun = (status: ContainerStatus) => !status.state?.waiting || status.lastState?.terminated !== undefined;
  const initialized =
    (pod.spec.initContainers?.length ?? 0) === 0 ||
    regular.some(begun) ||
    init.at(-1)?.state?.terminated?.exitCode === 0;
  if (initialized) for (const status of regular) end(status);
  for (const status of init.slice(0, init.findLastIndex(begun) + 1)) end(status);
}
