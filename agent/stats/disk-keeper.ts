import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseMountInfo } from '../../src/linux/mounts.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { measurePodDisk, type PodDisk, type PodDiskOptions } from './pod-disk.ts';
import type { PodTarget } from './targets.ts';

export interface DiskKeeper {
  /** The newest measurement of a pod; undefined before the first. */
  of(uid: string): PodDisk | undefined;
  /** Measures until aborted. */
  run(signal: AbortSignal): Promise<void>;
}

export interface DiskKeeperOptions extends PodDiskOptions {
  /** `volumeStatsAggPeriod`; 0 or less: nothing is measured. */
  periodMs: number;
}

/** How soon a new pod is found. */
const LOOK_MS = 5_000;
/** A tree that takes long to walk is walked less often: no more than this part of the time. */
const SHARE_OF_TIME = 0.1;

/** Keeps what every pod has on disk, measured in its turn; one walk at a time. */
export function createDiskKeeper(
  options: DiskKeeperOptions,
  deps: Omit<Parameters<typeof measurePodDisk>[2], 'mountPoints' | 'nowMs'> & {
    targets(): PodTarget[];
    clock: Clock;
    log: Logger;
  },
): DiskKeeper {
  const { clock } = deps;
  const measured = new Map<string, { disk: PodDisk; dueMs: number; containers: string }>();

  async function round(signal: AbortSignal) {
    const targets = deps.targets();
    const uids = new Set(targets.map(({ uid }) => uid));
    for (const uid of measured.keys()) if (!uids.has(uid)) measured.delete(uid);
    // A container that was started since has a new layer.
    const due = targets.filter((target) => {
      const known = measured.get(target.uid);
      return !known || known.dueMs <= clock.monotonicMs() || known.containers !== idsOf(target);
    });
    if (due.length === 0) return;
    const mountPoints = new Set(
      parseMountInfo(await readFile(join(options.procRoot, 'self/mountinfo'), 'utf8').catch(() => '')).map(
        ({ target }) => target,
      ),
    );
    for (const target of due) {
      const beganMs = clock.monotonicMs();
      const disk = await measurePodDisk(target, options, { ...deps, mountPoints, nowMs: () => clock.nowMs() }, signal);
      const tookMs = clock.monotonicMs() - beganMs;
      measured.set(target.uid, {
        disk,
        dueMs: beganMs + Math.max(options.periodMs, tookMs / SHARE_OF_TIME),
        containers: idsOf(target),
      });
    }
  }

  return {
    of: (uid) => measured.get(uid)?.disk,
    async run(signal) {
      if (options.periodMs <= 0) {
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          else signal.addEventListener('abort', () => resolve(), { once: true });
        });
        return;
      }
      while (!signal.aborted) {
        await round(signal).catch((error) => {
          if (!signal.aborted) deps.log.warn({ err: error }, "pods' use of the disk could not be measured");
        });
        await clock.sleep(Math.min(LOOK_MS, options.periodMs), signal).catch(() => {});
      }
    },
  };
}

const idsOf = ({ containers }: PodTarget) => containers.map(({ id }) => id).join();
