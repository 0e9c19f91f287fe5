import type { Container, Pod } from '../../../src/kube/types.ts';
import type { CpuSet } from '../../../src/linux/cpu-list.ts';
import { type CheckpointWriter, createCheckpointWriter, loadCheckpoint } from '../checkpoints/checkpoint-file.ts';
import {
  AllocationError,
  type HintProvider,
  type ResourceHints,
  type TopologyHint,
} from '../topology/hint-provider.ts';
import type { ManagerMetrics } from '../topology/manager-metrics.ts';
import { numaNodesOf } from '../topology/numa-mask.ts';
import { allContainers, endsBeforeOthers } from '../topology/pod-containers.ts';
import { assignCpus } from './assign-evenly.ts';
import { computeCpuHints, socketsOf } from './cpu-hints.ts';
import { type CpuState, checkCpuState, parseCpuState, renderCpuState } from './cpu-state.ts';
import { type CpuTopology, cpusIn, groupCpus } from './cpu-topology.ts';
import { exclusiveCpuCount, podExclusiveCpuCount } from './exclusive.ts';
import type { CpuPolicyOptions } from './policy-options.ts';

export interface CpuManagerOptions {
  topology: CpuTopology;
  /** CPUs that no container has for itself. */
  reserved: CpuSet;
  policy: CpuPolicyOptions;
  /** `<root>/cpu_manager_state`. */
  statePath: string;
}

export interface CpuManagerDependencies {
  metrics: ManagerMetrics;
  nowMs(): number;
  /**
   * Resolves when every container runs on the CPUs that it is to run on. Called after CPUs became somebody's own and before their container is
   * made, so that nobody is left on them; and when CPUs were given back.
   */
  onChange(): Promise<void>;
  /** The state could not be written after CPUs were given back; it is tried again with the next change. */
  onUnsaved(error: unknown): void;
}

/** `cpuManagerPolicy: static`: CPUs of their own for containers of Guaranteed pods that ask for whole ones. */
export interface CpuManager extends HintProvider {
  /** What this container runs on. */
  cpus(uid: string, container: string): CpuSet;
  /** Whether those are its own. */
  hasExclusive(uid: string, container: string): boolean;
  hasAnyExclusive(uid: string): boolean;
  /** All CPUs that can become somebody's own: pod resources API. */
  allocatable(): CpuSet;
  /** Those that are whose: pod resources API; empty when it has none of its own. */
  exclusive(uid: string, container: string): CpuSet;
}

const NONE: CpuSet = new Set();

/** Reads the checkpoint and goes on from there. @throws CheckpointError when it cannot. */
export async function createCpuManager(options: CpuManagerOptions, deps: CpuManagerDependencies): Promise<CpuManager> {
  const { topology, reserved, policy, statePath } = options;
  const reach = policy.strictCpuReservation ? topology.all.difference(reserved) : topology.all;
  const state = await loadCpuState(options, deps, reach);
  const writer = createCheckpointWriter(statePath, () => renderCpuState(state));
  return buildCpuManager(options, deps, state, writer);
}

async function loadCpuState(
  { reserved, policy, statePath }: CpuManagerOptions,
  deps: CpuManagerDependencies,
  reach: CpuSet,
): Promise<CpuState> {
  const loaded = await loadCheckpoint(statePath, (text) => parseCpuState(text, statePath), deps.nowMs);
  if (!loaded || (loaded.defaultCpus.size === 0 && loaded.entries.size === 0))
    return { defaultCpus: reach, entries: new Map() };
  checkCpuState(loaded, { reach, reserved, strict: policy.strictCpuReservation }, statePath);
  return loaded;
}

function buildCpuManager(
  { topology, reserved, policy }: CpuManagerOptions,
  deps: CpuManagerDependencies,
  state: CpuState,
  writer: CheckpointWriter,
): CpuManager {
  const { metrics } = deps;
  const reservedCores = cpusIn(topology, topology.all, 'core', groupCpus(topology, reserved, 'core').keys());
  /** Of the pod that is being admitted: CPUs of init containers, which its other containers may have after them. */
  let reuse: { uid: string; cpus: CpuSet } = { uid: '', cpus: NONE };

  const exclusive = (uid: string, container: string) => state.entries.get(uid)?.get(container) ?? NONE;
  const available = () => state.defaultCpus.difference(reserved);
  const reusable = (uid: string) => (reuse.uid === uid ? reuse.cpus : NONE);
  showMetrics();

  function showMetrics(): void {
    const assigned = new Set(
      [...state.entries.values()].flatMap((of) => [...of.values()].flatMap((cpus) => [...cpus])),
    );
    const perNuma = groupCpus(topology, assigned, 'numa');
    metrics.cpus({
      sharedMillis: available().size * 1000,
      exclusive: assigned.size,
      perNuma: new Map(topology.numaNodes.map((node) => [node, perNuma.get(node)?.length ?? 0])),
    });
  }

  function noteReuse(pod: Pod, container: Container, cpus: CpuSet): void {
    const { uid } = pod.metadata;
    const before = reusable(uid);
    reuse = { uid, cpus: endsBeforeOthers(pod, container) ? before.union(cpus) : before.difference(cpus) };
  }

  /** @throws AllocationError with upstream's reason and words. */
  function checkPhysical(count: number): void {
    const perCore = topology.cpusPerCore;
    const refuse = (message: string) => {
      throw new AllocationError(`SMT Alignment Error: ${message}`, { reason: 'SMTAlignmentError' });
    };
    if (count % perCore !== 0) refuse(`requested ${count} cpus not multiple cpus per core = ${perCore}`);
    const physical = state.defaultCpus.difference(reservedCores).size;
    if (count > physical)
      refuse(
        `not enough free physical CPUs: available physical CPUs = ${physical}, requested CPUs = ${count}, CPUs per core = ${perCore}`,
      );
  }

  function pick(count: number, from: CpuSet): CpuSet {
    return assignCpus(topology, from, count, {
      spreadAcrossCores: policy.distributeAcrossCores,
      spreadAcrossNuma: policy.distributeAcrossNuma,
      alignByUncoreCache: policy.alignByUncoreCache,
      groupSize: policy.fullPhysicalCpusOnly ? topology.cpusPerCore : 1,
    });
  }

  /** Those within the affinity first, the rest from anywhere. */
  function choose(pod: Pod, count: number, { numaNodes }: TopologyHint): CpuSet {
    const from = available().union(reusable(pod.metadata.uid));
    let aligned: CpuSet = NONE;
    if (numaNodes !== undefined) {
      const within = policy.alignBySocket
        ? cpusIn(topology, from, 'socket', socketsOf(topology, numaNodes))
        : cpusIn(topology, from, 'numa', numaNodesOf(numaNodes));
      aligned = pick(Math.min(count, within.size), within);
    }
    return aligned.union(pick(count - aligned.size, from.difference(aligned)));
  }

  function assign(pod: Pod, container: Container, count: number, affinity: TopologyHint): void {
    const { uid } = pod.metadata;
    if (policy.fullPhysicalCpusOnly) checkPhysical(count);
    const held = state.entries.get(uid)?.get(container.name);
    if (held) {
      noteReuse(pod, container, held);
      return;
    }
    let cpus: CpuSet;
    try {
      cpus = choose(pod, count, affinity);
    } catch (error) {
      throw new AllocationError((error as Error).message, { cause: error });
    }
    const containers = state.entries.get(uid) ?? new Map<string, CpuSet>();
    state.entries.set(uid, containers.set(container.name, cpus));
    state.defaultCpus = state.defaultCpus.difference(cpus);
    noteReuse(pod, container, cpus);
    if (groupCpus(topology, cpus, 'uncore').size === 1) metrics.aligned('container', 'uncore_cache');
  }

  /** A CPU that another container of the pod still has does not come free. */
  function giveBack(uid: string, container: string): boolean {
    const containers = state.entries.get(uid);
    const cpus = containers?.get(container);
    if (!containers || !cpus) return false;
    containers.delete(container);
    if (containers.size === 0) state.entries.delete(uid);
    const kept = new Set([...containers.values()].flatMap((others) => [...others]));
    state.defaultCpus = state.defaultCpus.union(cpus.difference(kept));
    return true;
  }

  function changed(): Promise<void> {
    showMetrics();
    return writer.save();
  }

  return {
    name: 'cpu',
    hints(pod, container): ResourceHints {
      const count = exclusiveCpuCount(pod, container);
      if (count === 0) return new Map();
      const { uid } = pod.metadata;
      const held = state.entries.get(uid)?.get(container.name);
      if (held)
        return hintsOf(held.size === count ? computeCpuHints(topology, held, NONE, count, policy.alignBySocket) : []);
      return hintsOf(computeCpuHints(topology, available(), reusable(uid), count, policy.alignBySocket));
    },
    podHints(pod): ResourceHints {
      const count = podExclusiveCpuCount(pod);
      if (count === 0) return new Map();
      const { uid } = pod.metadata;
      let held = NONE;
      for (const container of allContainers(pod)) {
        const own = state.entries.get(uid)?.get(container.name);
        if (own && own.size !== exclusiveCpuCount(pod, container)) return hintsOf([]);
        held = held.union(own ?? NONE);
      }
      if (held.size === count) return hintsOf(computeCpuHints(topology, held, NONE, count, policy.alignBySocket));
      return hintsOf(computeCpuHints(topology, available(), reusable(uid).union(held), count, policy.alignBySocket));
    },
    async allocate(pod, container, affinity) {
      const count = exclusiveCpuCount(pod, container);
      if (count === 0) return;
      metrics.cpuPinning();
      const isNew = !state.entries.get(pod.metadata.uid)?.has(container.name);
      try {
        assign(pod, container, count, affinity);
        if (isNew) await changed();
      } catch (error) {
        metrics.cpuPinningFailed();
        if (policy.fullPhysicalCpusOnly) metrics.misaligned('container', 'physical_cpu');
        // What could not be written is not in the file: nothing to write again.
        if (isNew && giveBack(pod.metadata.uid, container.name)) showMetrics();
        throw error;
      }
      if (policy.fullPhysicalCpusOnly) metrics.aligned('container', 'physical_cpu');
      if (isNew) await deps.onChange();
    },
    remove(uid, container) {
      const names = container === undefined ? [...(state.entries.get(uid)?.keys() ?? [])] : [container];
      if (names.map((name) => giveBack(uid, name)).includes(true)) {
        void changed().catch(deps.onUnsaved);
        void deps.onChange();
      }
    },
    holders: () => state.entries.keys(),
    cpus(uid, container) {
      const own = exclusive(uid, container);
      if (own.size > 0) return own;
      // Every CPU that is not reserved is somebody's own: better on reserved ones than on those.
      return state.defaultCpus.size > 0 ? state.defaultCpus : reserved;
    },
    exclusive,
    hasExclusive: (uid, container) => exclusive(uid, container).size > 0,
    hasAnyExclusive: (uid) => state.entries.has(uid),
    allocatable: () => topology.all.difference(reserved),
  };
}

function hintsOf(hints: readonly TopologyHint[]): ResourceHints {
  return new Map([['cpu', hints]]);
}
