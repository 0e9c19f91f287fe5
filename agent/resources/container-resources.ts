import type { Pod } from '../../src/kube/types.ts';
import { cpuQuotaUs, cpuShares } from '../../src/linux/cgroup/values.ts';
import type { ContainerResources } from '../pods/ports.ts';
import type { CgroupSettings } from './cgroup-plan.ts';
import { limitsOf, requestsOf } from './requests.ts';

/** Docker's `HostConfig` fields for one container. Swap is off for limited containers (swapBehavior NoSwap). */
export function computeContainerResources(pod: Pod, name: string, settings: CgroupSettings): ContainerResources {
  const container = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].find((one) => one.name === name);
  const requests = requestsOf(container?.resources);
  const limits = limitsOf(container?.resources);
  const resources: ContainerResources = { CpuShares: cpuShares(requests.cpu ?? 0) };
  const quotaUs = settings.cpuCfsQuota ? cpuQuotaUs(limits.cpu ?? 0, settings.cpuCfsQuotaPeriodUs) : undefined;
  if (quotaUs !== undefined) {
    resources.CpuQuota = quotaUs;
    resources.CpuPeriod = settings.cpuCfsQuotaPeriodUs;
  }
  if (limits.memory) {
    resources.Memory = limits.memory;
    resources.MemorySwap = limits.memory;
  }
  return resources;
}
