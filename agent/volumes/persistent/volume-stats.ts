import { statFileSystem } from '../../../src/linux/file-system.ts';
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

/** What is known of the volumes behind claims. */
export interface ClaimFigures {
  /** The newest figures, at once; undefined when nobody tells (NFS, a driver without the capability) or nobody has yet. */
  of(namespace: string, claim: string): VolumeStats | undefined;
  /** All of them, measured anew when they are old. Never waits long for a volume that gives no answer. */
  all(): Promise<readonly { claim: MountedClaim; stats: VolumeStats }[]>;
}

/** How long somebody who asks waits for a measurement; then what was known before is the answer. */
const PATIENCE_MS = 1_000;

/** A claim that several pods have is measured once, and no more than once a period. `of` starts that too, and does not wait for it. */
export function createClaimFigures({
  claims,
  periodMs = PERIOD_MS,
  clock,
}: {
  claims(): readonly MountedClaim[];
  periodMs?: number;
  clock: Clock;
}): ClaimFigures {
  const known = new Map<string, { claim: MountedClaim; stats?: VolumeStats | undefined }>();
  /** Claims that were asked and have not answered: a volume that hangs must not take a thread of the pool with every look. */
  const asking = new Map<string, Promise<void>>();
  let askedMs: number | undefined;

  /** Asks those that are due, all at once: none waits for another. */
  function refresh(): Promise<unknown> | undefined {
    const nowMs = clock.monotonicMs();
    if (askedMs === undefined || nowMs - askedMs >= periodMs) {
      askedMs = nowMs;
      const mounted = new Map(claims().map((one) => [`${one.namespace}/${one.claim}`, one]));
      for (const key of known.keys()) if (!mounted.has(key)) known.delete(key);
      for (const [key, claim] of mounted) if (!asking.has(key)) asking.set(key, ask(key, claim));
    }
    return asking.size > 0 ? Promise.all(asking.values()) : undefined;
  }

  async function ask(key: string, claim: MountedClaim) {
    // A volume that cannot be looked at has no figures, as upstream; the others have theirs.
    const stats = await (claim.ask ? claim.ask() : statFileSystem(claim.path)).catch(() => undefined);
    asking.delete(key);
    known.set(key, { claim, stats });
  }

  return {
    of(namespace, claim) {
      void refresh();
      return known.get(`${namespace}/${claim}`)?.stats;
    },
    async all() {
      const fresh = refresh();
      if (fresh) {
        const patience = new AbortController();
        const waited = clock.sleep(PATIENCE_MS, patience.signal).catch(() => {});
        await Promise.race([fresh, waited]);
        patience.abort();
      }
      return [...known.values()].flatMap(({ claim, stats }) => (stats ? [{ claim, stats }] : []));
    },
  };
}

/** The kubelet's series about claims. */
export function registerVolumeStats(registry: Registry, figures: ClaimFigures): void {
  for (const [field, name, help] of SERIES)
    new Gauge({
      name,
      help,
      labelNames: ['namespace', 'persistentvolumeclaim'],
      registers: [registry],
      async collect() {
        const found = await figures.all();
        this.reset();
        for (const { claim, stats } of found)
          if (stats[field] !== undefined)
            this.set({ namespace: claim.namespace, persistentvolumeclaim: claim.claim }, Number(stats[field]));
      },
    });
}
