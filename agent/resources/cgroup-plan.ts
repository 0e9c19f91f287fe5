import type { Pod } from '../../src/kube/types.ts';
import { type CgroupLimits, cpuQuotaUs, cpuShares } from '../../src/linux/cgroup/values.ts';
import { binarySize, kernelPageSize } from './hugepages.ts';
import type { NodeResources } from './node-resources.ts';
import { podQosClass } from './qos.ts';
import { allLimit, podLimits, podRequests, type ResourceAmounts } from './requests.ts';

export interface CgroupSettings {
  /** KubeletConfiguration.cpuCFSQuota: false leaves CPU limits unenforced. */
  cpuCfsQuota: boolean;
  cpuCfsQuotaPeriodUs: number;
  /** −1: not limited. */
  podPidsLimit: number;
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
  return limits;
}

function hugepageLimits(limits: ResourceAmounts, sizesBytes: readonly number[]): Record<string, number> {
  return Object.fromEntries(
    sizesBytes.map((size) => [kernelPageSize(size), limits[`hugepages-${binarySize(size)}`] ?? 0]),
  );
}

/** Burstable pods share the CPU by what they request together; BestEffort gets what is left. */
export function computeQosLimits(pods: Iterable<Pod>): { burstable: CgroupLimits; besteffort: CgroupLimits } {
  let burstableMillis = 0;
  for (const pod of pods) if (podQosClass(pod) === 'Burstable') burstableMillis += podRequests(pod).cpu ?? 0;
  return { burstable: { cpuShares: cpuShares(burstableMillis) }, besteffort: { cpuShares: cpuShares(0) } };
}

/** All pods together get what is not reserved (eviction thresholds are not taken off here). */
export function computeKubepodsLimits(available: NodeResources, enforce: boolean): CgroupLimits {
  const limits: CgroupLimits = { cpuShares: cpuShares(available.cpuMillis) };
  if (!enforce) return limits;
  limits.memoryBytes = available.memoryBytes;
  if (available.pids !== undefined) limits.pids = available.pids;
  return limits;
}
