import { formatBytes, parseQuantity } from '../../src/kube/quantity.ts';
import type { Pod } from '../../src/kube/types.ts';
import { limitsOf, podLimits } from '../resources/requests.ts';
import type { PodStats } from '../stats/summary.ts';
import type { DiskLayout } from './disk-layout.ts';

/** `kubelet_evictions{eviction_signal}` of pods that took more local disk than they may. */
export type LimitSignal = 'emptydirfs.limit' | 'ephemeralpodfs.limit' | 'ephemeralcontainerfs.limit';

export interface LimitViolation {
  signal: LimitSignal;
  message: string;
}

/** The first limit on local storage that a pod breaks: a volume's, the pod's, a container's. Pure. */
export function findLimitViolation(pod: Pod, stats: PodStats, layout: DiskLayout): LimitViolation | undefined {
  return overfullVolume(pod, stats) ?? overfullPod(pod, stats) ?? overfullContainer(pod, stats, layout);
}

function overfullVolume(pod: Pod, stats: PodStats): LimitViolation | undefined {
  for (const { name, emptyDir } of pod.spec.volumes ?? []) {
    if (!emptyDir?.sizeLimit) continue;
    const limit = parseQuantity(emptyDir.sizeLimit);
    const used = stats.volume?.find((one) => one.name === name)?.usedBytes ?? 0;
    if (limit.value > 0n && used > Number(limit.value))
      return {
        signal: 'emptydirfs.limit',
        message: `Usage of EmptyDir volume ${JSON.stringify(name)} exceeds the limit ${JSON.stringify(String(emptyDir.sizeLimit))}. `,
      };
  }
  return undefined;
}

function overfullPod(pod: Pod, stats: PodStats): LimitViolation | undefined {
  const limit = podLimits(pod)['ephemeral-storage'];
  const used = stats['ephemeral-storage']?.usedBytes ?? 0;
  if (limit === undefined || used <= limit) return undefined;
  return {
    signal: 'ephemeralpodfs.limit',
    message: `Pod ephemeral local storage usage exceeds the total limit of containers ${formatBytes(limit)}. `,
  };
}

function overfullContainer(pod: Pod, stats: PodStats, layout: DiskLayout): LimitViolation | undefined {
  for (const { name, resources } of pod.spec.containers) {
    const limit = limitsOf(resources)['ephemeral-storage'];
    const own = stats.containers.find((one) => one.name === name);
    if (!limit || !own) continue;
    // As upstream: a file system of the Engine's own is not the node's local storage.
    const used = (own.logs?.usedBytes ?? 0) + (layout === 'shared' ? (own.rootfs?.usedBytes ?? 0) : 0);
    if (used > limit)
      return {
        signal: 'ephemeralcontainerfs.limit',
        message: `Container ${name} exceeded its local ephemeral storage limit ${JSON.stringify(resources?.limits?.['ephemeral-storage'])}. `,
      };
  }
  return undefined;
}
