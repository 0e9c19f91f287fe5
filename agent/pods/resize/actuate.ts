import type { DockerEngine } from '../../../src/docker/engine.ts';
import { dockerMessage } from '../../../src/docker/errors.ts';
import type { Container, Pod } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { findContainer } from '../../containers/kill.ts';
import type { Allocations } from '../../resources/allocation/allocations.ts';
import { resizableContainers } from '../../resources/allocation/pod-allocation.ts';
import { allLimit, limitsOf, podLimits } from '../../resources/requests.ts';
import type { ContainerUpdate } from '../plan-parts.ts';
import type { PodRuntimeStatus } from '../ports.ts';
import type { PodResources } from '../resource-ports.ts';
import type { ResizeMetrics } from './resizes.ts';
import { computeStepPod } from './step-pod.ts';

export interface ResizeActuatorDependencies {
  docker: Pick<DockerEngine, 'updateContainer'>;
  resources: Pick<PodResources, 'ensurePod' | 'containerResources' | 'limitContainer' | 'memoryInUseBytes'>;
  allocations: Allocations;
  metrics: Pick<ResizeMetrics, 'actuated'>;
  clock: Clock;
}

export interface ResizeActuator {
  /** The pod's cgroup as its running containers are; where they are to grow or shrink, `actuate` does that together with them. */
  ensureCgroup(pod: Pod, observed: PodRuntimeStatus, signal: AbortSignal): Promise<void>;
  /**
   * Gives the pod's cgroup and its running containers what is allocated to them. Throws, with what upstream's condition says, when
   * a memory limit would be below what is in use, or the Engine refuses; what was not done is done by the next call.
   */
  actuate(
    pod: Pod,
    updates: readonly ContainerUpdate[],
    observed: PodRuntimeStatus,
    signal: AbortSignal,
  ): Promise<void>;
}

/**
 *     pod grows ──▶ containers that shrink ──▶ containers that grow ──▶ pod shrinks
 */
export function createResizeActuator(deps: ResizeActuatorDependencies): ResizeActuator {
  const { resources, allocations, clock } = deps;

  /** The kernel would kill for the memory that is missing (v2), or refuse after some of the work was done (v1). */
  async function assertMemoryFits(
    before: Pod | undefined,
    after: Pod,
    updates: readonly ContainerUpdate[],
  ): Promise<void> {
    const problems: string[] = [];
    const check = async (whose: string, limit: number | undefined, old: number | undefined, containerId?: string) => {
      if (limit === undefined || (old !== undefined && limit >= old)) return;
      const inUse = await resources.memoryInUseBytes(after, containerId);
      if (inUse !== undefined && inUse >= limit)
        problems.push(`attempting to set ${whose} memory limit (${limit}) below current usage (${inUse})`);
    };
    const podLimit = (pod: Pod | undefined) => (pod && allLimit(pod, 'memory') ? podLimits(pod)['memory'] : undefined);
    await check('pod', podLimit(after), podLimit(before));
    for (const { id, name } of updates) {
      const [now, old] = [after, before].map((pod) => pod && limitsOf(findContainer(pod, name)?.resources)['memory']);
      await check(`container ${JSON.stringify(name)}`, now, old, id);
    }
    if (problems.length > 0) throw new Error(`cannot decrease memory limits: ${problems.join(', ')}`);
  }

  async function update(pod: Pod, { id, name }: ContainerUpdate, container: Container, signal: AbortSignal) {
    try {
      await deps.docker.updateContainer(id, resources.containerResources(pod, name), signal);
      await resources.limitContainer(pod, name, id);
    } catch (error) {
      signal.throwIfAborted();
      throw new Error(`container ${JSON.stringify(name)} could not be resized: ${dockerMessage(error)}`, {
        cause: error,
      });
    }
    allocations.recordActuated(pod.metadata.uid, name, container.resources ?? {});
  }

  async function carryOut(pod: Pod, before: Pod, updates: readonly ContainerUpdate[], signal: AbortSignal) {
    await assertMemoryFits(before, pod, updates);
    await resources.ensurePod(computeStepPod(before, pod));
    const shrinks = ({ name }: ContainerUpdate) => {
      const [now, old] = [pod, before].map((one) => limitsOf(findContainer(one, name)?.resources));
      return ['cpu', 'memory'].some((resource) => (now![resource] ?? Infinity) < (old![resource] ?? Infinity));
    };
    const inOrder = [...updates.filter(shrinks), ...updates.filter((one) => !shrinks(one))];
    for (const one of inOrder) {
      const container = findContainer(pod, one.name);
      if (container) await update(pod, one, container, signal);
    }
    await resources.ensurePod(pod);
    allocations.recordPodActuated(pod);
  }

  /**
   * An agent that was killed between an update and its record leaves a container that has more than it says: cgroup v1 then refuses
   * the pod's quota. All that runs is given what is allocated to it; a container may always shrink.
   */
  async function repair(pod: Pod, { containers }: PodRuntimeStatus, cause: unknown, signal: AbortSignal) {
    const running = containers.filter(({ state }) => state === 'running');
    const updates = running.filter(({ name }) => resizableContainers(pod).some((one) => one.name === name));
    if (updates.length === 0) throw cause;
    await assertMemoryFits(undefined, pod, updates);
    for (const one of updates) await update(pod, one, findContainer(pod, one.name)!, signal);
    await resources.ensurePod(pod);
  }

  /** The pod with what its running containers have been given. */
  function standing(pod: Pod, { containers }: PodRuntimeStatus): Pod {
    const running = containers.flatMap(({ name, state }) => (state === 'running' ? [name] : []));
    return allocations.actuatedPod(pod, new Set(running));
  }

  return {
    async ensureCgroup(pod, observed, signal) {
      const before = standing(pod, observed);
      await resources.ensurePod(before).catch((error) => repair(pod, observed, error, signal));
      if (!allocations.podActuated(pod.metadata.uid)) allocations.recordPodActuated(pod);
    },
    async actuate(pod, updates, observed, signal) {
      const before = standing(pod, observed);
      if (before === pod && updates.length === 0) return;
      const startedMs = clock.monotonicMs();
      let isDone = false;
      try {
        await carryOut(pod, before, updates, signal);
        isDone = true;
      } finally {
        if (!signal.aborted) deps.metrics.actuated(clock.monotonicMs() - startedMs, isDone);
      }
    },
  };
}
