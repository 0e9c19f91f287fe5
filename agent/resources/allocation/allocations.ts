import type { Pod, ResourceRequirements } from '../../../src/kube/types.ts';
import { createCheckpointWriter, loadCheckpoint } from '../checkpoints/checkpoint-file.ts';
import { parseCheckpoint, renderCheckpoint } from './checkpoint.ts';
import {
  allocationOf,
  type PodAllocation,
  resizableContainers,
  sameRequirements,
  withAllocation,
} from './pod-allocation.ts';

/**
 * What this node has set aside for each pod. A spec may ask for something else since: that is a resize, which is decided
 * and carried out elsewhere; until then the pod is what was allocated.
 *
 *     spec (asked) ──resize decision──▶ allocated ──executor──▶ actuated (the Engine has accepted it)
 */
export interface Allocations {
  /** The pod with the resources that were allocated to it; the very same object when they are what its spec says. */
  allocatedPod(pod: Pod): Pod;
  isAllocated(uid: string): boolean;
  /** A pod that is admitted gets what its spec asks for. Never throws: what could not be written is written with the next change. */
  allocate(pod: Pod): void;
  /** The same for a resize. Resolves when a restart of the agent would know it; nothing has changed when it throws. */
  reallocate(pod: Pod): Promise<void>;
  /** What the Engine has accepted for a container; undefined: as allocated. */
  actuated(uid: string, container: string): ResourceRequirements | undefined;
  /** The Engine has accepted a container's resources. Never throws; what is not written is written with the next. */
  recordActuated(uid: string, container: string, resources: ResourceRequirements): void;
  /** Of containers that run and of which nothing was written down, it is taken that they have what is allocated to them. */
  assumeActuated(allocated: Pod, running: readonly string[]): void;
  /** The pod as it runs: what was actuated for the running containers, what was allocated for the others and the pod itself. */
  actuatedPod(allocated: Pod, running: ReadonlySet<string>): Pod;
  /** The pod's cgroup has its pod-level resources now. */
  recordPodActuated(allocated: Pod): void;
  /** What the pod's cgroup has of pod-level resources; undefined: as allocated. */
  podActuated(uid: string): ResourceRequirements | undefined;
  /** The pod's cgroup has other pod-level resources than were allocated. */
  isPodBehind(allocated: Pod): boolean;
  release(uid: string): void;
  /** Forgets all other pods. */
  retain(uids: ReadonlySet<string>): void;
}

/** What is known at the start, and who writes it down. */
export interface AllocationState {
  allocated?: Map<string, PodAllocation>;
  actuated?: Map<string, PodAllocation>;
  saveAllocated?(): Promise<void>;
  saveActuated?(): Promise<void>;
  /** Something could not be written, and nobody waits for it. */
  onError?(error: unknown): void;
}

/** Reads what an earlier life of the agent has allocated. @throws CheckpointError */
export async function loadAllocations(
  paths: { allocated: string; actuated: string },
  options: { nowMs(): number; onError(error: unknown): void },
): Promise<Allocations> {
  const load = async (path: string) => (await loadCheckpoint(path, parseCheckpoint, options.nowMs)) ?? new Map();
  const [allocated, actuated] = [await load(paths.allocated), await load(paths.actuated)];
  return createAllocations({
    allocated,
    actuated,
    saveAllocated: createCheckpointWriter(paths.allocated, () => renderCheckpoint(allocated)).save,
    saveActuated: createCheckpointWriter(paths.actuated, () => renderCheckpoint(actuated)).save,
    onError: options.onError,
  });
}

/** Without somebody who writes nothing outlives the process. */
export function createAllocations(state: AllocationState = {}): Allocations {
  const { allocated = new Map<string, PodAllocation>(), actuated = new Map<string, PodAllocation>() } = state;
  /** The same pod gives the same allocated pod: its cgroup is looked at again only when something has changed. */
  const shown = new WeakMap<Pod, { allocation: PodAllocation; pod: Pod }>();

  function saveActuated(): void {
    state.saveActuated?.().catch(state.onError);
  }

  function changeActuated(uid: string, change: (known: PodAllocation) => PodAllocation): void {
    actuated.set(uid, change(actuated.get(uid) ?? { ContainerResources: {} }));
    saveActuated();
  }

  return {
    allocatedPod(pod) {
      const allocation = allocated.get(pod.metadata.uid);
      if (!allocation) return pod;
      const known = shown.get(pod);
      if (known?.allocation === allocation) return known.pod;
      const made = withAllocation(pod, allocation);
      shown.set(pod, { allocation, pod: made });
      return made;
    },
    isAllocated: (uid) => allocated.has(uid),
    allocate(pod) {
      allocated.set(pod.metadata.uid, allocationOf(pod));
      state.saveAllocated?.().catch(state.onError);
    },
    async reallocate(pod) {
      const { uid } = pod.metadata;
      const before = allocated.get(uid);
      allocated.set(uid, allocationOf(pod));
      try {
        await state.saveAllocated?.();
      } catch (error) {
        // What a restart would not know is not promised to anybody.
        if (before) allocated.set(uid, before);
        else allocated.delete(uid);
        throw error;
      }
    },
    actuated: (uid, container) => actuated.get(uid)?.ContainerResources[container],
    recordActuated(uid, container, resources) {
      changeActuated(uid, (known) => ({
        ...known,
        ContainerResources: { ...known.ContainerResources, [container]: resources },
      }));
    },
    assumeActuated(pod, running) {
      const { uid } = pod.metadata;
      for (const { name, resources } of resizableContainers(pod))
        if (running.includes(name) && !actuated.get(uid)?.ContainerResources[name])
          changeActuated(uid, (known) => ({
            ...known,
            ContainerResources: { ...known.ContainerResources, [name]: resources ?? {} },
          }));
    },
    actuatedPod(pod, running) {
      const known = actuated.get(pod.metadata.uid);
      if (!known) return pod;
      const { ContainerResources, PodLevelResources } = known;
      const runs = Object.entries(ContainerResources).filter(([name]) => running.has(name));
      const podLevel = PodLevelResources ?? pod.spec.resources;
      return withAllocation(pod, {
        ContainerResources: Object.fromEntries(runs),
        ...(podLevel && { PodLevelResources: podLevel }),
      });
    },
    recordPodActuated({ metadata: { uid }, spec: { resources } }) {
      if (!resources || sameRequirements(actuated.get(uid)?.PodLevelResources, resources)) return;
      changeActuated(uid, (known) => ({ ...known, PodLevelResources: resources }));
    },
    podActuated: (uid) => actuated.get(uid)?.PodLevelResources,
    isPodBehind({ metadata: { uid }, spec: { resources } }) {
      const known = actuated.get(uid)?.PodLevelResources;
      return known !== undefined && !sameRequirements(known, resources);
    },
    release(uid) {
      // Written with the next change: a pod too many in the file does no harm.
      allocated.delete(uid);
      actuated.delete(uid);
    },
    retain(uids) {
      for (const uid of allocated.keys()) if (!uids.has(uid)) allocated.delete(uid);
      for (const uid of actuated.keys()) if (!uids.has(uid)) actuated.delete(uid);
    },
  };
}
