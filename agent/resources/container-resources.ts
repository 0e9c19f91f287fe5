import type { Container, Pod } from '../../src/kube/types.ts';
import { type CgroupLimits, cpuQuotaUs, cpuShares } from '../../src/linux/cgroup/values.ts';
import type { ContainerResources } from '../pods/resource-ports.ts';
import { type CgroupSettings, hugepageLimits } from './cgroup-plan.ts';
import { memoryHighBytes, memoryProtection } from './memory-qos.ts';
import { podQosClass } from './qos.ts';
import { limitsOf, type ResourceAmounts, requestsOf } from './requests.ts';
import { swapBytesOf } from './swap.ts';

/** Docker's `HostConfig` fields for one container. Memory and swap are one sum there: equal to the memory, there is no swap. */
export function computeContainerResources(pod: Pod, name: string, settings: CgroupSettings): ContainerResources {
  const container = containerOf(pod, name);
  const requests = requestsOf(container?.resources);
  const limits = effectiveLimits(pod, container);
  const resources: ContainerResources = { CpuShares: cpuShares(requests.cpu ?? limits.cpu ?? 0) };
  const quotaUs = settings.cpuCfsQuota ? cpuQuotaUs(limits.cpu ?? 0, settings.cpuCfsQuotaPeriodUs) : undefined;
  if (quotaUs !== undefined) {
    resources.CpuQuota = quotaUs;
    resources.CpuPeriod = settings.cpuCfsQuotaPeriodUs;
  }
  if (limits.memory) {
    resources.Memory = limits.memory;
    const swapBytes = container && settings.v2 ? swapBytesOf(pod, container, settings.v2.swap) : 0;
    resources.MemorySwap = limits.memory + swapBytes;
  }
  return resources;
}

/** The limits that Docker's API has no words for: they are written into the cgroup of the container when it has started. */
export function computeContainerLimits(
  pod: Pod,
  name: string,
  settings: CgroupSettings,
  hugepageSizesBytes: readonly number[] = [],
): CgroupLimits {
  const container = containerOf(pod, name);
  if (!container) return {};
  const limits: CgroupLimits = {};
  if (hugepageSizesBytes.length > 0)
    limits.hugepageBytes = hugepageLimits(containerHugepages(pod, container), hugepageSizesBytes);
  if (settings.v2) {
    const { memoryQos, swap, singleProcessOomKill } = settings.v2;
    limits.oomGroup = !singleProcessOomKill;
    limits.swapBytes = swapBytesOf(pod, container, swap);
    if (memoryQos) {
      const requestBytes = requestsOf(container.resources).memory ?? 0;
      Object.assign(limits, memoryProtection(podQosClass(pod), requestBytes, memoryQos));
      limits.memoryHighBytes = memoryHighBytes(container, memoryQos) ?? 'max';
    }
  }
  return limits;
}

function containerOf({ spec }: Pod, name: string): Container | undefined {
  const all = [...spec.containers, ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])];
  return all.find((one) => one.name === name) as Container | undefined;
}

/** A container without a limit of its own has the pod's, if that has one (KEP-2837). */
function effectiveLimits(pod: Pod, container: Container | undefined): ResourceAmounts {
  const own = limitsOf(container?.resources);
  const ofPod = limitsOf(pod.spec.resources);
  return { ...own, cpu: own.cpu || (ofPod.cpu ?? 0), memory: own.memory || (ofPod.memory ?? 0) };
}

/** The pod's huge pages stand for those of a container that asks for none. */
function containerHugepages(pod: Pod, container: Container): ResourceAmounts {
  const own = limitsOf(container.resources);
  const asksForSome = Object.keys(own).some((name) => name.startsWith('hugepages-'));
  return asksForSome ? own : limitsOf(pod.spec.resources);
}
