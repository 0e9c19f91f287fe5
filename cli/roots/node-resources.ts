import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { reservedPercent } from '../../agent/config/sections/cgroups.ts';
import { evictionHardOf } from '../../agent/config/sections/eviction.ts';
import { withNamedCpus } from '../../agent/config/sections/managers.ts';
import type { HostFacts } from '../../agent/node/host-facts.ts';
import { hasSysResource } from '../../agent/resources/capabilities.ts';
import type { CgroupDriver } from '../../agent/resources/cgroup-names.ts';
import type { UnifiedSettings } from '../../agent/resources/cgroup-plan.ts';
import {
  computeAllocatable,
  computeCapacity,
  computeUnreserved,
  type NodeResources,
  type Reservations,
} from '../../agent/resources/node-resources.ts';
import { createPodResources, type NodePodResources } from '../../agent/resources/pod-resources.ts';
import type { EngineInfo } from '../../src/docker/engine.ts';
import { openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { createSystemdSlices } from '../../src/linux/cgroup/systemd.ts';
import { readSwapDevices } from '../../src/linux/swap.ts';

export interface NodeShares {
  capacity: NodeResources;
  allocatable: NodeResources;
  unreserved: NodeResources;
}

/** What the node has and what is left for pods, from the host's facts and the configuration's reservations. */
export function computeNodeShares(config: KubeletConfiguration, facts: HostFacts): NodeShares {
  const capacity = computeCapacity(facts.capacity, { maxPods: config.maxPods, podsPerCore: config.podsPerCore });
  const reservations = reservationsOf(config);
  return {
    capacity,
    allocatable: computeAllocatable(capacity, reservations),
    unreserved: computeUnreserved(capacity, reservations),
  };
}

export function reservationsOf(config: KubeletConfiguration): Reservations {
  return {
    ...withNamedCpus(config),
    evictionHard: evictionHardOf(config),
  };
}

/** What cgroup v2 alone can do, as the configuration wants it. */
function unifiedSettings(config: KubeletConfiguration, shares: NodeShares, swapTotalBytes: number): UnifiedSettings {
  return {
    swap: {
      behavior: config.memorySwap.swapBehavior,
      totalBytes: swapTotalBytes,
      memoryBytes: shares.capacity.memoryBytes,
    },
    singleProcessOomKill: config.singleProcessOOMKill ?? false,
    ...(config.featureGates['MemoryQoS'] && {
      memoryQos: {
        throttlingFactor: config.memoryThrottlingFactor,
        reservation: config.memoryReservationPolicy,
        allocatableBytes: shares.allocatable.memoryBytes,
      },
    }),
  };
}

export function driverOf(engine: Pick<EngineInfo, 'cgroupDriver'>): CgroupDriver {
  return engine.cgroupDriver === 'systemd' ? 'systemd' : 'cgroupfs';
}

/** The pods' cgroups, by the Engine's own driver and on whichever cgroup version this host has. */
export async function openPodResources(
  config: KubeletConfiguration,
  shares: NodeShares,
  engine: EngineInfo,
  hasExclusiveCpus: (uid: string) => boolean = () => false,
): Promise<NodePodResources> {
  const cgroups = await openCgroups();
  const driver = driverOf(engine);
  const swapTotalBytes = (await readSwapDevices()).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const memoryPercent = reservedPercent(config.qosReserved['memory'] ?? '');
  return createPodResources(
    {
      driver,
      cgroupRoot: config.cgroupRoot || '/',
      ...shares,
      enforcePods: config.enforceNodeAllocatable.includes('pods'),
      canLowerOomScore: hasSysResource(),
      cpuCfsQuota: config.cpuCFSQuota,
      hasExclusiveCpus,
      cpuCfsQuotaPeriodUs: config.cpuCFSQuotaPeriodMs * 1000,
      podPidsLimit: config.podPidsLimit,
      ...(memoryPercent !== undefined && { reservedMemoryPercent: memoryPercent }),
      ...(cgroups.version === 2 && { v2: unifiedSettings(config, shares, swapTotalBytes) }),
    },
    { cgroups, ...(driver === 'systemd' && { slices: createSystemdSlices(cgroups.version) }) },
  );
}
