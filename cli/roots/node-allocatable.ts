import { release } from 'node:os';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { createSystemOomWatcher } from '../../agent/node/system-oom.ts';
import { registerMemoryQosMetrics } from '../../agent/resources/memory-qos-metrics.ts';
import { createNodeAllocatable } from '../../agent/resources/node-allocatable.ts';
import type { NodePodResources } from '../../agent/resources/pod-resources.ts';
import { computeReservedCgroups } from '../../agent/resources/reserved-cgroups.ts';
import type { EngineInfo } from '../../src/docker/engine.ts';
import type { EventRecorder } from '../../src/kube/events.ts';
import { openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { createSystemdSlices } from '../../src/linux/cgroup/systemd.ts';
import { openKernelLog } from '../../src/linux/kernel-log.ts';
import { setOwnOomScore } from '../../src/linux/oom-score.ts';
import { readSwapDevices } from '../../src/linux/swap.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { ProgramContext } from './context.ts';
import { warnOfGates } from './feature-gates.ts';
import { checkNode } from './node-checks.ts';
import { driverOf, type NodeShares } from './node-resources.ts';

export interface NodeAllocatableOptions {
  config: KubeletConfiguration;
  nodeName: string;
  shares: NodeShares;
  engine: EngineInfo;
  failSwapOnUnsaid: boolean;
}

function isOlderKernel(version: string, major: number, minor: number): boolean {
  const [ownMajor = 0, ownMinor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return ownMajor < major || (ownMajor === major && ownMinor < minor);
}

/**
 * Checks that this machine can be the node that the configuration describes, then limits what is reserved and sets the agent's own
 * oom_score_adj. The returned parts keep the limits of all pods together while the agent lives, and tell when the machine is out of memory.
 */
export async function startNodeAllocatable(
  options: NodeAllocatableOptions,
  deps: { resources: NodePodResources; registry: Registry; events?: Pick<EventRecorder, 'event'> },
  { clock, log }: ProgramContext,
) {
  const { config, nodeName, shares, engine } = options;
  const cgroups = await openCgroups();
  const driver = driverOf(engine);
  const hasMemoryQos = config.featureGates['MemoryQoS'] === true;
  const reserved = computeReservedCgroups(driver, { ...config, memoryQos: hasMemoryQos && cgroups.version === 2 });
  const { failSwapOnUnsaid } = options;
  await checkNode({ config, shares, swapDevices: await readSwapDevices(), failSwapOnUnsaid, reserved }, cgroups);

  warnOfGates(config.featureGates, log);
  if (cgroups.version === 1 && (hasMemoryQos || config.memorySwap.swapBehavior === 'LimitedSwap'))
    log.warn('MemoryQoS and LimitedSwap need cgroup v2: on this machine neither has an effect');
  if (cgroups.version === 2 && hasMemoryQos) {
    // Before 5.9 a container at memory.high could be held up for ever.
    if (isOlderKernel(release(), 5, 9))
      log.warn({ kernel: release() }, 'MemoryQoS on a kernel before 5.9: throttled containers may hang');
    registerMemoryQosMetrics(deps.registry, deps.resources.protectedMemory);
  }
  if (!setOwnOomScore(config.oomScoreAdj))
    log.info({ oomScoreAdj: config.oomScoreAdj }, 'CAP_SYS_RESOURCE is missing: the agent keeps its oom_score_adj');
  const node = { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName };
  const tell = (type: 'Normal' | 'Warning', reason: string, message: string) => {
    if (deps.events) deps.events.event(node, type, reason, message);
    else log[type === 'Warning' ? 'warn' : 'info']({ reason }, message);
  };
  const part = createNodeAllocatable(reserved, {
    resources: deps.resources,
    cgroups,
    ...(driver === 'systemd' && { slices: createSystemdSlices(cgroups.version) }),
    event: tell,
    clock,
    log,
  });
  await part.start();
  await deps.resources.ensureNode();
  const outOfMemory = createSystemOomWatcher({
    openLog: openKernelLog,
    onOom: ({ process, pid }) =>
      tell('Warning', 'SystemOOM', `System OOM encountered, victim process: ${process}, pid: ${pid}`),
    clock,
    log,
  });
  return { 'node allocatable': part, 'system OOM watcher': outOfMemory };
}
