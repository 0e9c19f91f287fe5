import type { Container, Pod } from '../../../src/kube/types.ts';
import { CheckpointError, createCheckpointWriter, loadCheckpoint } from '../checkpoints/checkpoint-file.ts';
import { podQosClass } from '../qos.ts';
import { isSidecar, requestsOf } from '../requests.ts';
import {
  AllocationError,
  type HintProvider,
  type ResourceHints,
  type TopologyHint,
} from '../topology/hint-provider.ts';
import type { NumaNode } from '../topology/machine.ts';
import type { ManagerMetrics } from '../topology/manager-metrics.ts';
import { isWithin, type NumaMask, numaMask, numaNodesOf } from '../topology/numa-mask.ts';
import { allContainers, endsBeforeOthers } from '../topology/pod-containers.ts';
import {
  buildMachineMemory,
  giveMemoryBack,
  type ReservedMemory,
  takeMemory,
  whyMemoryDiffers,
} from './machine-memory.ts';
import { bestHint, canUseTogether, computeMemoryHints, hasFree, type MemoryRequest } from './memory-hints.ts';
import { type MemoryBlock, type MemoryState, parseMemoryState, renderMemoryState } from './memory-state.ts';

export interface MemoryManagerOptions {
  nodes: readonly NumaNode[];
  reserved: ReservedMemory;
  /** `<root>/memory_manager_state`. */
  statePath: string;
}

export interface MemoryManagerDependencies {
  metrics: ManagerMetrics;
  nowMs(): number;
  /** The state could not be written after memory was given back; it is tried again with the next change. */
  onUnsaved(error: unknown): void;
}

/** `memoryManagerPolicy: Static`: memory of containers of Guaranteed pods comes from NUMA nodes set aside for it. */
export interface MemoryManager extends HintProvider {
  /** What the container has; empty when its memory may come from anywhere. */
  blocks(uid: string, container: string): readonly MemoryBlock[];
  /** The NUMA nodes of that. */
  nodes(uid: string, container: string): number[];
  /** What each node has for pods: pod resources API. */
  allocatable(): MemoryBlock[];
}

/** Reads the checkpoint and goes on from there. @throws CheckpointError when it cannot. */
export async function createMemoryManager(
  { nodes, reserved, statePath }: MemoryManagerOptions,
  deps: MemoryManagerDependencies,
): Promise<MemoryManager> {
  const empty = buildMachineMemory(nodes, reserved);
  const loaded = await loadCheckpoint(statePath, (text) => parseMemoryState(text, statePath), deps.nowMs);
  const isBlank = !loaded || (Object.keys(loaded.machine).length === 0 && loaded.entries.size === 0);
  const why = isBlank ? undefined : whyMemoryDiffers(loaded, empty);
  if (why)
    throw new CheckpointError(
      `${statePath} does not fit this node: ${why}. Please drain the node and delete that file before starting the agent again`,
    );
  const state: MemoryState = isBlank ? { machine: empty, entries: new Map() } : loaded;
  const writer = createCheckpointWriter(statePath, () => renderMemoryState(state));
  const { metrics } = deps;
  /** Of the pod that is being admitted: what init containers leave, by mask and kind. */
  let reuse: { uid: string; bytes: Map<string, number> } = { uid: '', bytes: new Map() };

  const reuseKey = (mask: NumaMask, type: string) => `${mask} ${type}`;
  const reusableOn = (uid: string) => (mask: NumaMask, type: string) =>
    reuse.uid === uid ? (reuse.bytes.get(reuseKey(mask, type)) ?? 0) : 0;
  const hintsFor = (uid: string, request: MemoryRequest) => computeMemoryHints(state.machine, request, reusableOn(uid));

  function noteReuse(pod: Pod, container: Container, blocks: readonly MemoryBlock[]): void {
    const { uid } = pod.metadata;
    if (reuse.uid !== uid) reuse = { uid, bytes: new Map() };
    for (const { numaAffinity, type, size } of blocks) {
      const key = reuseKey(numaMask(numaAffinity), type);
      const before = reuse.bytes.get(key) ?? 0;
      reuse.bytes.set(key, endsBeforeOthers(pod, container) ? Math.max(before, size) : Math.max(0, before - size));
    }
  }

  /** The affinity widened to nodes that have it all. @throws AllocationError */
  function chooseNodes(uid: string, request: MemoryRequest, affinity: TopologyHint): NumaMask {
    const fail = (what: string): never => {
      throw new AllocationError(`[memorymanager] ${what}`);
    };
    let chosen = affinity;
    if (chosen.numaNodes === undefined) {
      const standard =
        bestHint(hintsFor(uid, request)) ??
        fail('failed to get the default NUMA affinity, no NUMA nodes with enough memory is available');
      if (!standard.preferred && affinity.preferred) fail('failed to find the default preferred hint');
      chosen = standard;
    }
    const wanted = chosen.numaNodes!;
    if (!hasFree(state.machine, wanted, request)) {
      const wider =
        bestHint(hintsFor(uid, request).filter(({ numaNodes }) => isWithin(wanted, numaNodes!))) ??
        fail('failed to find NUMA nodes to extend the current topology hint');
      if (!wider.preferred && chosen.preferred) fail('failed to find the extended preferred hint');
      chosen = wider;
    }
    const mask = chosen.numaNodes!;
    const members = numaNodesOf(mask);
    if (members.length > 1 && !canUseTogether(state.machine, members))
      fail('preferred hint violates NUMA node allocation');
    return mask;
  }

  function assign(pod: Pod, container: Container, request: MemoryRequest, affinity: TopologyHint): void {
    const { uid } = pod.metadata;
    const mask = chooseNodes(uid, request, affinity);
    const numaAffinity = numaNodesOf(mask);
    const blocks = [...request].map(([type, size]) => ({ numaAffinity, type, size }));
    for (const block of blocks)
      takeMemory(state.machine, { ...block, size: Math.max(0, block.size - reusableOn(uid)(mask, block.type)) });
    noteReuse(pod, container, blocks);
    const containers = state.entries.get(uid) ?? new Map<string, MemoryBlock[]>();
    state.entries.set(uid, containers.set(container.name, blocks));
    for (const block of blocks) moveFromInit(pod, container, block);
  }

  /** What was used again is counted with the later container: the pod's blocks add up to what is taken from the nodes. */
  function moveFromInit(pod: Pod, container: Container, { numaAffinity, type, size }: MemoryBlock): void {
    const mask = numaMask(numaAffinity);
    let left = size;
    for (const init of pod.spec.initContainers ?? []) {
      if (init.name === container.name || left === 0) return;
      if (isSidecar(init)) continue;
      for (const block of state.entries.get(pod.metadata.uid)?.get(init.name) ?? []) {
        if (block.type !== type || numaMask(block.numaAffinity) !== mask) continue;
        const moved = Math.min(left, block.size);
        block.size -= moved;
        left -= moved;
      }
    }
  }

  function giveBack(uid: string, container: string): boolean {
    const containers = state.entries.get(uid);
    const blocks = containers?.get(container);
    if (!containers || !blocks) return false;
    containers.delete(container);
    if (containers.size === 0) state.entries.delete(uid);
    for (const block of blocks) giveMemoryBack(state.machine, block);
    return true;
  }

  /** What the container holds, as hints; undefined: nothing yet. No preference where it is not what it asks for now. */
  function heldHints(uid: string, container: string, request: MemoryRequest): ResourceHints | undefined {
    const held = state.entries.get(uid)?.get(container);
    if (!held) return undefined;
    if (held.length !== request.size || held.some(({ type, size }) => request.get(type) !== size)) return new Map();
    return new Map(
      held.map(({ type, numaAffinity }) => [type, [{ numaNodes: numaMask(numaAffinity), preferred: true }]]),
    );
  }

  return {
    name: 'memory',
    hints(pod, container) {
      const request = memoryRequest(pod, container);
      if (request.size === 0) return new Map();
      const held = heldHints(pod.metadata.uid, container.name, request);
      if (held) return held;
      const hints = hintsFor(pod.metadata.uid, request);
      return new Map([...request.keys()].map((type) => [type, hints]));
    },
    podHints(pod) {
      const request = podMemoryRequest(pod);
      if (request.size === 0) return new Map();
      for (const { name } of allContainers(pod)) {
        const held = heldHints(pod.metadata.uid, name, request);
        if (held) return held;
      }
      const hints = hintsFor(pod.metadata.uid, request);
      return new Map([...request.keys()].map((type) => [type, hints]));
    },
    async allocate(pod, container, affinity) {
      const request = memoryRequest(pod, container);
      if (request.size === 0) return;
      const { uid } = pod.metadata;
      metrics.memoryPinning();
      const held = state.entries.get(uid)?.get(container.name);
      if (held) {
        noteReuse(pod, container, held);
        return;
      }
      try {
        assign(pod, container, request, affinity);
        await writer.save();
      } catch (error) {
        metrics.memoryPinningFailed();
        giveBack(uid, container.name);
        throw error;
      }
    },
    remove(uid, container) {
      const names = container === undefined ? [...(state.entries.get(uid)?.keys() ?? [])] : [container];
      if (names.map((name) => giveBack(uid, name)).includes(true)) void writer.save().catch(deps.onUnsaved);
    },
    holders: () => state.entries.keys(),
    blocks: (uid, container) => state.entries.get(uid)?.get(container) ?? [],
    nodes: (uid, container) => [
      ...new Set((state.entries.get(uid)?.get(container) ?? []).flatMap(({ numaAffinity }) => numaAffinity)),
    ],
    allocatable: () =>
      Object.entries(state.machine).flatMap(([id, { memoryMap }]) =>
        Object.entries(memoryMap).flatMap(([type, { allocatable }]) =>
          allocatable > 0 ? [{ numaAffinity: [Number(id)], type, size: allocatable }] : [],
        ),
      ),
  };
}

/** Memory and huge pages of a container of a Guaranteed pod; nothing for any other, nor where the pod asks as a whole. */
export function memoryRequest(pod: Pod, container: Container): MemoryRequest {
  if (pod.spec.resources?.requests || pod.spec.resources?.limits || podQosClass(pod) !== 'Guaranteed') return new Map();
  return new Map(
    Object.entries(requestsOf(container.resources)).filter(
      ([type, size]) => (type === 'memory' || type.startsWith('hugepages-')) && size > 0,
    ),
  );
}

/** What the pod holds at once at most. */
export function podMemoryRequest(pod: Pod): MemoryRequest {
  const running = new Map<string, number>();
  const sidecars = new Map<string, number>();
  const init = new Map<string, number>();
  const add = (to: Map<string, number>, type: string, size: number) => to.set(type, (to.get(type) ?? 0) + size);
  for (const container of pod.spec.initContainers ?? [])
    for (const [type, size] of memoryRequest(pod, container))
      if (isSidecar(container)) add(sidecars, type, size);
      else init.set(type, Math.max(init.get(type) ?? 0, (sidecars.get(type) ?? 0) + size));
  for (const container of pod.spec.containers)
    for (const [type, size] of memoryRequest(pod, container)) add(running, type, size);
  for (const [type, size] of sidecars) add(running, type, size);
  for (const [type, size] of init) running.set(type, Math.max(running.get(type) ?? 0, size));
  return running;
}
