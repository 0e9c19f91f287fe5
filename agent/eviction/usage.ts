import type { Pod, Volume } from '../../src/kube/types.ts';
import type { FsStats, PodStats } from '../stats/summary.ts';

/** What of a pod lies on a file system. */
export type DiskPart = 'rootfs' | 'logs' | 'volumes';

export interface DiskUsage {
  bytes: number;
  inodes: number;
}

/** Volumes that take the node's own disk: their content counts for whoever mounts them. */
export function isLocalVolume(volume: Volume): boolean {
  const { hostPath, emptyDir, configMap, downwardAPI, gitRepo, secret, projected } = volume;
  if (emptyDir) return emptyDir.medium !== 'Memory' && !emptyDir.medium?.startsWith('HugePages');
  return [hostPath, configMap, downwardAPI, gitRepo, secret, projected].some((source) => source !== undefined);
}

/** Bytes and inodes of the named parts of a pod; what is not known counts as nothing. */
export function diskUsage(pod: Pod, stats: PodStats, parts: readonly DiskPart[]): DiskUsage {
  const counted: (FsStats | undefined)[] = [];
  for (const { rootfs, logs } of stats.containers) {
    if (parts.includes('rootfs')) counted.push(rootfs);
    if (parts.includes('logs')) counted.push(logs);
  }
  if (parts.includes('volumes')) {
    const local = new Set((pod.spec.volumes ?? []).filter(isLocalVolume).map(({ name }) => name));
    counted.push(...(stats.volume ?? []).filter(({ name }) => local.has(name)));
  }
  const sum = (field: 'usedBytes' | 'inodesUsed') => counted.reduce((total, fs) => total + (fs?.[field] ?? 0), 0);
  return { bytes: sum('usedBytes'), inodes: sum('inodesUsed') };
}
