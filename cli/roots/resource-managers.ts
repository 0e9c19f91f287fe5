import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { evictionHardOf } from '../../agent/config/sections/eviction.ts';
import { withNamedCpus } from '../../agent/config/sections/managers.ts';
import type { AdmitHandler } from '../../agent/pods/admission-ports.ts';
import type { PodResources } from '../../agent/pods/resource-ports.ts';
import { loadCheckpoint } from '../../agent/resources/checkpoints/checkpoint-file.ts';
import { checkNoState } from '../../agent/resources/checkpoints/checkpoint-policy.ts';
import { type CpuManager, createCpuManager } from '../../agent/resources/cpu-manager/cpu-manager.ts';
import { CPU_STATE_FILE } from '../../agent/resources/cpu-manager/cpu-state.ts';
import { buildCpuTopology } from '../../agent/resources/cpu-manager/cpu-topology.ts';
import { type CpusetKeeper, createCpusetKeeper } from '../../agent/resources/cpu-manager/cpuset-keeper.ts';
import { parseCpuPolicyOptions } from '../../agent/resources/cpu-manager/policy-options.ts';
import { checkNamedCpus, computeReservedCpus } from '../../agent/resources/cpu-manager/reserved-cpus.ts';
import { createMemoryManager, type MemoryManager } from '../../agent/resources/memory-manager/memory-manager.ts';
import { MEMORY_STATE_FILE } from '../../agent/resources/memory-manager/memory-state.ts';
import { computeReservedMemory } from '../../agent/resources/memory-manager/reserved-memory.ts';
import { thresholdBytes } from '../../agent/resources/node-resources.ts';
import { applyAssignments } from '../../agent/resources/topology/assignments.ts';
import type { ContainerAssignments, HintProvider } from '../../agent/resources/topology/hint-provider.ts';
import { type MachineTopology, readMachineTopology } from '../../agent/resources/topology/machine.ts';
import { createManagerMetrics, type ManagerMetrics } from '../../agent/resources/topology/manager-metrics.ts';
import { parseTopologyPolicyOptions } from '../../agent/resources/topology/policy-options.ts';
import { buildNumaMachine, createTopologyManager } from '../../agent/resources/topology/topology-manager.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { bytes, cpuMillis } from '../../src/kube/quantity.ts';
import { formatCpuList, parseCpuList } from '../../src/linux/cpu-list.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { ProgramContext } from './context.ts';

export interface ResourceManagersOptions {
  config: KubeletConfiguration;
  nodeName: string;
  rootDir: string;
  metrics: Registry;
}

/** CPU manager, memory manager and topology manager of a node; without a policy each stands aside. */
export interface ResourceManagers {
  cpu: CpuManager | undefined;
  memory: MemoryManager | undefined;
  /** Of the machine; empty when nobody aligns anything. */
  numaNodes: readonly number[];
  /** What is aligned on beside CPUs and memory joins here, and is asked first, as upstream: devices. */
  createAdmission(others: readonly HintProvider[]): AdmitHandler;
  hasExclusiveCpus(uid: string): boolean;
  /** Containers get their CPUs and NUMA nodes with their other resources. */
  assign(resources: PodResources): PodResources;
  /** The Engine for all that makes containers: where they run is kept up to date. */
  follow(docker: DockerEngine): DockerEngine;
  parts(): { 'CPU manager'?: Runnable };
}

/** Reads the machine and the checkpoints. Changes nothing yet. @throws ExplainedError when the agent cannot start with this configuration here */
export async function openResourceManagers(
  options: ResourceManagersOptions,
  context: ProgramContext,
): Promise<ResourceManagers> {
  const { config, nodeName } = options;
  const { clock, log } = context;
  const metrics = createManagerMetrics(options.metrics);
  const isNeeded =
    config.cpuManagerPolicy !== 'none' ||
    config.memoryManagerPolicy !== 'None' ||
    config.topologyManagerPolicy !== 'none' ||
    config.reservedSystemCPUs !== '';
  const machine = isNeeded ? await readMachineTopology() : { cpus: new Map(), numaNodes: [] };
  // Its number counts whatever the policy.
  checkNamedCpus(parseCpuList(config.reservedSystemCPUs), new Set(machine.cpus.keys()));
  if (config.reservedSystemCPUs && (config.kubeReserved.cpu || config.systemReserved.cpu))
    log.warn('reservedSystemCPUs takes the place of cpu in kubeReserved and systemReserved');
  let keeper: CpusetKeeper | undefined;
  const cpu = await openCpuManager(options, context, machine, metrics, async () => keeper?.sync());
  const memory = await openMemoryManager(options, context, machine, metrics);
  const numa = buildNumaMachine(
    config.topologyManagerPolicy === 'none' ? [] : machine.numaNodes,
    parseTopologyPolicyOptions(config.topologyManagerPolicyOptions),
  );

  function assignments(uid: string, container: string): ContainerAssignments {
    const nodes = memory?.nodes(uid, container) ?? [];
    return {
      ...(cpu && { cpusetCpus: formatCpuList(cpu.cpus(uid, container)) }),
      ...(nodes.length > 0 && { cpusetMems: formatCpuList(nodes) }),
      ...(cpu?.hasExclusive(uid, container) && { quotaOff: true }),
    };
  }

  return {
    cpu,
    memory,
    numaNodes: numa.nodes,
    createAdmission: (others) =>
      createTopologyManager(
        { policy: config.topologyManagerPolicy, scope: config.topologyManagerScope, machine: numa },
        { providers: [...others, ...(cpu ? [cpu] : []), ...(memory ? [memory] : [])], metrics, clock, log },
      ),
    hasExclusiveCpus: (uid) => cpu?.hasAnyExclusive(uid) ?? false,
    assign: (resources) => ({
      ...resources,
      containerResources: (pod, container) =>
        applyAssignments(resources.containerResources(pod, container), assignments(pod.metadata.uid, container)),
    }),
    follow(docker) {
      if (!cpu) return docker;
      keeper = createCpusetKeeper(
        { nodeName, periodMs: config.cpuManagerReconcilePeriodMs },
        { docker, wanted: (uid, container) => formatCpuList(cpu.cpus(uid, container)), clock, log },
      );
      return keeper.docker;
    },
    parts: () => (keeper ? { 'CPU manager': keeper } : {}),
  };
}

/** Whether the agent could start with them: asked before the first change. @throws ExplainedError */
export async function checkResourceManagers(
  options: Pick<ResourceManagersOptions, 'config' | 'rootDir'>,
): Promise<void> {
  const context = { clock: systemClock, log: silentLogger };
  await openResourceManagers({ ...options, nodeName: '', metrics: new Registry() }, context);
}

async function openCpuManager(
  { config, rootDir }: ResourceManagersOptions,
  { clock, log }: ProgramContext,
  machine: MachineTopology,
  metrics: ManagerMetrics,
  onChange: () => Promise<void>,
): Promise<CpuManager | undefined> {
  const statePath = join(rootDir, CPU_STATE_FILE);
  const nowMs = () => clock.nowMs();
  if (config.cpuManagerPolicy === 'none') {
    await loadCheckpoint(statePath, (text) => checkNoState(text, statePath, 'none'), nowMs);
    return undefined;
  }
  const topology = buildCpuTopology(machine);
  const policy = parseCpuPolicyOptions(config.cpuManagerPolicyOptions);
  if (policy.alignBySocket && topology.sockets.length > topology.numaNodes.length)
    throw new ExplainedError(
      `cpuManagerPolicyOptions align-by-socket needs sockets that hold whole NUMA nodes; this machine has ${topology.sockets.length} sockets and ${topology.numaNodes.length} NUMA nodes`,
    );
  const { kubeReserved, systemReserved } = withNamedCpus(config);
  const reserved = computeReservedCpus(
    topology,
    parseCpuList(config.reservedSystemCPUs),
    cpuMillis(kubeReserved.cpu) + cpuMillis(systemReserved.cpu),
  );
  log.info({ reserved: formatCpuList(reserved), all: formatCpuList(topology.all) }, 'CPU manager: static policy');
  return createCpuManager(
    { topology, reserved, policy, statePath },
    { metrics, nowMs, onChange, onUnsaved: (err) => log.error({ err }, 'CPU manager: state not written') },
  );
}

async function openMemoryManager(
  { config, rootDir }: ResourceManagersOptions,
  { clock, log }: ProgramContext,
  machine: MachineTopology,
  metrics: ManagerMetrics,
): Promise<MemoryManager | undefined> {
  const statePath = join(rootDir, MEMORY_STATE_FILE);
  const nowMs = () => clock.nowMs();
  if (config.memoryManagerPolicy === 'None') {
    await loadCheckpoint(statePath, (text) => checkNoState(text, statePath, 'None'), nowMs);
    return undefined;
  }
  const { kubeReserved, systemReserved } = withNamedCpus(config);
  const threshold = thresholdBytes(evictionHardOf(config)['memory.available'], totalmem());
  const heldBackBytes = bytes(kubeReserved.memory) + bytes(systemReserved.memory) + threshold;
  const reserved = computeReservedMemory(machine.numaNodes, config.reservedMemory, heldBackBytes);
  return createMemoryManager(
    { nodes: machine.numaNodes, reserved, statePath },
    { metrics, nowMs, onUnsaved: (err) => log.error({ err }, 'memory manager: state not written') },
  );
}
