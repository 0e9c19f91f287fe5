import { statfs } from 'node:fs/promises';
import type { Clock } from '../../../src/runtime/clock.ts';
import { Gauge, type Registry } from '../../../src/runtime/metrics.ts';

/** A claim that a pod on this node has mounted, and how much is in it can be told. */
export interface MountedClaim {
  readonly namespace: string;
  readonly claim: string;
  readonly path: string;
  /** Asks the driver; absent: the file system is looked at. undefined: the driver does not tell. */
  readonly ask?: () => Promise<VolumeStats | undefined>;
}

export interface VolumeStats {
  readonly capacityBytes?: number;
  readonly availableBytes?: number;
  readonly usedBytes?: number;
  readonly inodes?: number;
  readonly inodesFree?: number;
  readonly inodesUsed?: number;
  /** The driver's word on the volume's health. */
  readonly isAbnormal?: boolean;
}

/** volumeStatsAggPeriod, upstream's default. */
const PERIOD_MS = 60_000;

const SERIES: readonly (readonly [keyof VolumeStats, string, string])[] = [
  ['capacityBytes', 'kubelet_volume_stats_capacity_bytes', 'Capacity in bytes of the volume'],
  ['availableBytes', 'kubelet_volume_stats_available_bytes', 'Number of available bytes in the volume'],
  ['usedBytes', 'kubelet_volume_stats_used_bytes', 'Number of used bytes in the volume'],
  ['inodes', 'kubelet_volume_stats_inodes', 'Maximum number of inodes in the volume'],
  ['inodesFree', 'kubelet_volume_stats_inodes_free', 'Number of free inodes in the volume'],
  ['inodesUsed', 'kubelet_volume_stats_inodes_used', 'Number of used inodes in the volume'],
  [
    'isAbnormal',
    'kubelet_volume_stats_health_status_abnormal',
    'Abnormal volume health status. The count is either 1 or 0. 1 indicates the volume is unhealthy, 0 indicates volume is healthy',
  ],
];

/** The kubelet's series about claims. A claim that several pods have is measured once, and no more than once a minute. */
export function registerVolumeStats(
  registry: Registry,
  { claims, clock }: { claims(): readonly MountedClaim[]; clock: Clock },
): void {
  let measured: { at: number; stats: Promise<Map<string, { one: MountedClaim; stats: VolumeStats }>> } | undefined;

  async function measureAll() {
    const byClaim = new Map(claims().map((one) => [`${one.namespace}/${one.claim}`, one]));
    const found = new Map<string, { one: MountedClaim; stats: VolumeStats }>();
    for (const [key, one] of byClaim) {
      // A volume that cannot be looked at has no figures, as upstream; the others have theirs.
      const stats = await (one.ask ? one.ask() : lookAt(one.path)).catch(() => undefined);
      if (stats) found.set(key, { one, stats });
    }
    return found;
  }

  function current() {
    const now = clock.monotonicMs();
    if (!measured || now - measured.at >= PERIOD_MS) measured = { at: now, stats: measureAll() };
    return measured.stats;
  }

  for (const [field, name, help] of SERIES)
    new Gauge({
      name,
      help,
      labelNames: ['namespace', 'persistentvolumeclaim'],
      registers: [registry],
      async collect() {
        const found = await current();
        this.reset();
        for (const { one, stats } of found.values())
          if (stats[field] !== undefined)
            this.set({ namespace: one.namespace, persistentvolumeclaim: one.claim }, Number(stats[field]));
      },
    });
}

async function lookAt(path: string): Promise<VolumeStats> {
  const { bsize, blocks, bavail, bfree, files, ffree } = await statfs(path);
  return {
    capacityBytes: blocks * bsize,
    availableBytes: bavail * bsize,
    usedBytes: (blocks - bfree) * bsize,
    inodes: files,
    inodesFree: ffree,
    inodesUsed: files - ffree,
  };
}
