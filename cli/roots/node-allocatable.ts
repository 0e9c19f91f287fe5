import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { createSystemOomWatcher } from '../../agent/node/system-oom.ts';
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

/**
 * Checks that this machine can be the node that the configuration describes, then limits what is reserved and sets the agent's own
 * oom_score_adj. The returned parts keep the limits of all pods together while the agent lives, and tell when the machine is out of memory.
 */
export async function startNodeAllocatable(
  options: NodeAllocatableOptions,
  deps: { resources: NodePodResources; events?: Pick<EventRecorder, 'event'> },
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
