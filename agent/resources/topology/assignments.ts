import type { ContainerResources } from '../../pods/resource-ports.ts';
import type { ContainerAssignments } from './hint-provider.ts';

/** A container's resources with the CPUs and NUMA nodes that the managers gave it. Pure. */
export function applyAssignments(
  resources: ContainerResources,
  { cpusetCpus, cpusetMems, quotaOff }: ContainerAssignments,
): ContainerResources {
  const { CpuQuota, CpuPeriod, ...rest } = resources;
  return {
    ...rest,
    // A quota would throttle a container on CPUs that nobody else may use.
    ...(!quotaOff && CpuQuota !== undefined && { CpuQuota, CpuPeriod }),
    ...(cpusetCpus && { CpusetCpus: cpusetCpus }),
    ...(cpusetMems && { CpusetMems: cpusetMems }),
  };
}
