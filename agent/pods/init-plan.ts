import type { Container, Pod } from '../../src/kube/types.ts';
import { isSidecar, restartPolicyOf, restartsAfterExit } from '../containers/restart.ts';
import {
  type ContainerKill,
  type ContainerStart,
  type ContainerUpdate,
  isChanged,
  newestOf,
  type PodPlanInput,
  resizeKill,
  startOf,
} from './plan-parts.ts';
import type { ContainerRuntimeStatus } from './ports.ts';
import { computeContainerResize } from './resize/container-resize.ts';

export interface InitPlan {
  /** The regular containers may run. */
  initialized: boolean;
  /** An init container failed for good: the pod ends. */
  failed: boolean;
  kill: ContainerKill[];
  /** Sidecars that get other resources without a restart. */
  update: ContainerUpdate[];
  /** In spec order. */
  start: ContainerStart[];
}

/**
 * Walks the init containers from last to first (sheet §4.4). The first one met with a record is where the pod stands;
 * the plain ones before it are done, the sidecars before it are kept alive. What ran in another sandbox than this one, and
 * could not be removed with it, did its work for that one.
 */
export function planInitContainers(input: PodPlanInput, sandboxId: string): InitPlan {
  const { pod, runtime, status } = input;
  const containers = pod.spec.initContainers ?? [];
  const plan: InitPlan = { initialized: containers.length === 0, failed: false, kill: [], update: [], start: [] };
  if (containers.length === 0) return plan;
  // An exited regular container does not count: it may be from before a reboot of the host.
  plan.initialized = pod.spec.containers.some((container) => {
    const state = newestOf(runtime, container.name)?.state;
    return state === 'created' || state === 'running';
  });
  let previouslyInitialized = plan.initialized;
  const begin = (container: Container) =>
    plan.start.push(startOf(container, 'init', newestOf(runtime, container.name), status));
  // Walking backwards, collected backwards; reversed at the end.
  for (let index = containers.length - 1; index >= 0; index--) {
    const container = containers[index]!;
    const newest = newestOf(runtime, container.name);
    const record = newest?.sandboxId === sandboxId ? newest : undefined;
    const sidecar = isSidecar(container);
    if (!record) {
      // It ran before, but its record is gone: a sidecar has to come back.
      if (previouslyInitialized && sidecar) begin(container);
      continue;
    }
    if (previouslyInitialized && !sidecar) continue;
    const next = containers[index + 1];
    const completed = () => {
      if (!next) plan.initialized = true;
      else if (!previouslyInitialized) begin(next);
    };
    if (sidecar) planSidecar(input, plan, container, record, completed);
    else planPlain(pod, plan, container, record, completed);
    if (plan.failed) return { ...plan, start: [] };
    previouslyInitialized = true;
  }
  const [first] = containers;
  if (!previouslyInitialized && first) begin(first);
  plan.start.reverse();
  return plan;
}

function planPlain(
  pod: Pod,
  plan: InitPlan,
  container: Container,
  record: ContainerRuntimeStatus,
  completed: () => void,
): void {
  if (record.state === 'running') return;
  if (record.state === 'exited' && record.exitCode === 0) {
    completed();
    return;
  }
  const again =
    record.state === 'created' ||
    (record.state === 'exited'
      ? restartPolicyOf(pod, container) !== 'Never' || restartsAfterExit(pod, container, record.exitCode ?? 137)
      : restartPolicyOf(pod, container) !== 'Never');
  if (!again) {
    plan.failed = true;
    return;
  }
  if (record.state === 'unknown') plan.kill.push(unknownState(record));
  plan.start.push(startOf(container, 'init', record));
}

function planSidecar(
  input: PodPlanInput,
  plan: InitPlan,
  container: Container,
  record: ContainerRuntimeStatus,
  completed: () => void,
): void {
  const again = (kill?: ContainerKill) => {
    if (kill) plan.kill.push(kill);
    plan.start.push(startOf(container, 'init', record));
  };
  const { id, name } = record;
  if (record.state !== 'running') {
    again(record.state === 'unknown' ? unknownState(record) : undefined);
    return;
  }
  const startup = container.startupProbe ? input.startup(id) : 'success';
  if (startup === 'failure')
    again({ id, name, message: `Init container ${name} failed startup probe`, probe: 'startup' });
  if (startup !== 'success') return;
  completed();
  if (isChanged(container, record)) again({ id, name, message: `Init container ${name} definition changed` });
  else if (container.livenessProbe && input.liveness(id) === 'failure')
    again({ id, name, message: `Init container ${name} failed liveness probe`, probe: 'liveness' });
  else {
    const resize = computeContainerResize(container, input.actuated?.(name));
    if (resize === 'restart') again(resizeKill(record));
    else if (resize === 'update') plan.update.push({ id, name });
  }
}

function unknownState(record: ContainerRuntimeStatus): ContainerKill {
  return {
    id: record.id,
    name: record.name,
    message: 'Init container is in "unknown" state, try killing it before restart',
  };
}
