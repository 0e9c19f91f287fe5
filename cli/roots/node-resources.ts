import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { evictionHardOf } from '../../agent/config/sections/eviction.ts';
import type { HostFacts } from '../../agent/node/host-facts.ts';
import { hasSysResource } from '../../agent/resources/capabilities.ts';
import {
  computeAllocatable,
  computeCapacity,
  computeUnreserved,
  type NodeResources,
} from '../../agent/resources/node-resources.ts';
import { createPodResources, type NodePodResources } from '../../agent/resources/pod-resources.ts';
import type { EngineInfo } from '../../src/docker/engine.ts';
import { openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { createSystemdSlices } from '../../src/linux/cgroup/systemd.ts';

export interface NodeShares {
  capacity: NodeResources;
  allocatable: NodeResources;
  unreserved: NodeResources;
}

/** What the node has and what is left for pods, from the host's facts and the configuration's reservations. */
export function computeNodeShares(config: KubeletConfiguration, facts: HostFacts): NodeShares {
  const capacity = computeCapacity(facts.capacity, { maxPods: config.maxPods, podsPerCore: config.podsPerCore });
  const reservations = {
    kubeReserved: config.kubeReserved,
    systemReserved: config.systemReserved,
    evictionHard: evictionHardOf(config),
  };
  return {
    capacity,
    allocatable: computeAllocatable(capacity, reservations),
    unreserved: computeUnreserved(capacity, reservations),
  };
}

/** The pods' cgroups, by the Engine's own driver and on whichever cgroup version this host has. */
export async function openPodResources(
  config: KubeletConfiguration,
  shares: NodeShares,
  engine: EngineInfo,
): Promise<NodePodResources> {
  const cgroups = await openCgroups();
  const driver = engine.cgroupDriver === 'systemd' ? 'systemd' : 'cgroupfs';
  return createPodResources(
    {
      driver,
      cgroupRoot: config.cgroupRoot || '/',
      ...shares,
      enforcePods: config.enforceNodeAllocatable.includes('pods'),
      canLowerOomScore: hasSysResource(),
      cpuCfsQuota: config.cpuCFSQuota,
      cpuCfsQuotaPeriodUs: config.cpuCFSQuotaPeriodMs * 1000,
      podPidsLimit: config.podPidsLimit,
    },
    { cgroups, ...(driver === 'systemd' && { slices: createSystemdSlices(cgroups.version) }) },
  );
}
