import type { Pod } from '../../src/kube/types.ts';
import { type CgroupLimits, cpuQuotaUs, cpuShares } from '../../src/linux/cgroup/values.ts';
import { binarySize, kernelPageSize } from './hugepages.ts';
import { type MemoryQos, memoryProtection } from './memory-qos.ts';
import type { NodeResources } from './node-resources.ts';
import { podQosClass } from './qos.ts';
import { allLimit, podLimits, podRequests, type ResourceAmounts } from './requests.ts';
import { type NodeSwap, swapBytesOf } from './swap.ts';

export interface CgroupSettings {
  /** KubeletConfiguration.cpuCFSQuota: false leaves CPU limits unenforced. */
  cpuCfsQuota: boolean;
  cpuCfsQuotaPeriodUs: number;
  /** −1: not limited. */
  podPidsLimit: number;
  /** What cgroup v2 alone can do; absent on v1. */
  v2?: UnifiedSettings;
}

/** Settings of cgroup v2. */
export interface UnifiedSettings {
  swap: NodeSwap;
  /** Out of memory, only the process that the kernel picks ends, not its whole container. */
  singleProcessOomKill: boolean;
  /** Absent: the gate MemoryQoS is off. */
  memoryQos?: MemoryQos;
}

/** Limits of the pod's own cgroup (sheet §16.2). */
export function computePodLimits(
  pod: Pod,
  settings: CgroupSettings,
  hugepageSizesBytes: readonly number[] = [],
): CgroupLimits {
  const qos = podQosClass(pod);
  const limits: CgroupLimits = {};
  const requests = podRequests(pod);
  const most = podLimits(pod);
  limits.cpuShares = cpuShares(qos === 'BestEffort' ? 0 : (requests.cpu ?? 0));
  if (qos !== 'BestEffort' && settings.cpuCfsQuota && allLimit(pod, 'cpu')) {
    limits.cpuQuotaUs = cpuQuotaUs(most.cpu ?? 0, settings.cpuCfsQuotaPeriodUs) ?? 'max';
    limits.cpuPeriodUs = settings.cpuCfsQuotaPeriodUs;
  }
  if (qos !== 'BestEffort' && allLimit(pod, 'memory')) limits.memoryBytes = most.memory ?? 'max';
  if (settings.podPidsLimit > 0) limits.pids = settings.podPidsLimit;
  if (hugepageSizesBytes.length > 0) limits.hugepageBytes = hugepageLimits(most, hugepageSizesBytes);
  if (settings.v2) {
    const { swap, memoryQos } = settings.v2;
    Object.assign(limits, memoryProtection(qos, requests.memory ?? 0, memoryQos));
    // Holds from the containers' first moment, and for those whose own cgroup the Engine cannot limit.
    limits.swapBytes = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].reduce(
      (sum, container) => sum + swapBytesOf(pod, container, swap),
      0,
    );
  }
  return limits;
}

/** Huge pages of each size that the node has; none of a size that is not asked for. */
export function hugepageLimits(limits: ResourceAmounts, sizesBytes: readonly number[]): Record<string, number> {
  return Object.fromEntries(
    sizesBytes.map((size) => [kernelPageSize(size), limits[`hugepages-${binarySize(size)}`] ?? 0]),
  );
}

export interface QosSettings {
  hugepageSizesBytes: readonly number[];
  v2?: Pick<UnifiedSettings, 'memoryQos'>;
  /** qosReserved: how much of the higher classes' memory requests the lower ones must leave, and of what memory. */
  reserved?: { memoryPercent: number; memoryBytes: number };
}

export interface QosLimits {
  /** Added to those of `kubepods`, where Guaranteed pods are. */
  kubepods: CgroupLimits;
  burstable: CgroupLimits;
  besteffort: CgroupLimits;
}

/** Burstable pods share the CPU by what they request together; BestEffort gets what is left. */
export function computeQosLimits(pods: Iterable<Pod>, settings: QosSettings): QosLimits {
  const sums = {
    Guaranteed: { cpu: 0, memory: 0 },
    Burstable: { cpu: 0, memory: 0 },
    BestEffort: { cpu: 0, memory: 0 },
  };
  for (const pod of pods) {
    const sum = sums[podQosClass(pod)];
    const requests = podRequests(pod);
    sum.cpu += requests.cpu ?? 0;
    sum.memory += requests.memory ?? 0;
  }
  // A class may have what its pods may have: they are limited one by one.
  const unlimited = Object.fromEntries(
    settings.hugepageSizesBytes.map((size) => [kernelPageSize(size), 'max' as const]),
  );
  const common = settings.hugepageSizesBytes.length > 0 ? { hugepageBytes: unlimited } : {};
  const limits: QosLimits = {
    kubepods: {},
    burstable: { cpuShares: cpuShares(sums.Burstable.cpu), ...common },
    besteffort: { cpuShares: cpuShares(0), ...common },
  };
  if (settings.v2) {
    const { memoryQos } = settings.v2;
    const { memoryMinBytes } = memoryProtection('Guaranteed', sums.Guaranteed.memory, memoryQos);
    const { memoryLowBytes } = memoryProtection('Burstable', sums.Burstable.memory, memoryQos);
    // The kernel protects no more below a cgroup than the cgroup itself has: kubepods must carry both.
    limits.kubepods = { memoryMinBytes, memoryLowBytes };
    Object.assign(limits.burstable, { memoryMinBytes: 0, memoryLowBytes });
  }
  if (settings.reserved) {
    const { memoryPercent, memoryBytes } = settings.reserved;
    const left = memoryBytes - Math.floor((sums.Guaranteed.memory * memoryPercent) / 100);
    limits.burstable.memoryBytes = Math.max(0, left);
    limits.besteffort.memoryBytes = Math.max(0, left - Math.floor((sums.Burstable.memory * memoryPercent) / 100));
  }
  return limits;
}

/**
 * All pods together get what is not reserved (eviction thresholds are not taken off here): give this the capacity less
 * reservations, or the whole capacity where enforceNodeAllocatable does not name `pods`.
 */
export function computeKubepodsLimits(available: NodeResources): CgroupLimits {
  const limits: CgroupLimits = { cpuShares: cpuShares(available.cpuMillis), memoryBytes: available.memoryBytes };
  if (available.pids !== undefined) limits.pids = available.pids;
  if (available.hugepages.size > 0)
    limits.hugepageBytes = Object.fromEntries(
      [...available.hugepages].map(([size, total]) => [kernelPageSize(size), total]),
    );
  return limits;
}
