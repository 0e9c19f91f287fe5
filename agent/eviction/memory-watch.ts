import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { availableBytes, type MemoryLevel } from './memory-levels.ts';
import { amountOf, type ThresholdValue } from './thresholds.ts';

/** Memory that must not fall below a threshold: the node's, or that of all pods together. */
export interface WatchedMemory {
  name: string;
  threshold: ThresholdValue;
  /** undefined: there is no such memory (yet). */
  read(): Promise<MemoryLevel | undefined>;
  /** Asks the kernel to tell when that much is charged; each call replaces the one before. */
  arm?(usageBytes: number): void;
}

export interface MemoryWatch {
  /** The kernel has told that memory is getting short: looks at once. */
  check(): void;
  run(signal: AbortSignal): Promise<void>;
}

/** No program fills memory faster: so long may the next look wait. */
const FASTEST_BYTES_PER_MS = 1024 ** 2;
const LEAST_PAUSE_MS = 25;
const MOST_PAUSE_MS = 10_000;
/** While it is low and nothing helps. */
const LOW_PAUSE_MS = 1_000;
/** What counts as usage in the kernel's eyes shifts with the file pages. */
const ARM_MS = 10_000;

/**
 * Tells when memory falls below a threshold. The kernel's notifications come when they come (and on v2 only once memory is being
 * reclaimed), so a few files are read as well: the more rarely, the further the threshold is away.
 */
export function createMemoryWatch(
  watched: readonly WatchedMemory[],
  deps: { onLow(name: string): void; clock: Clock; log: Logger },
): MemoryWatch {
  const { clock, log } = deps;
  let wake = () => {};
  let armedMs = Number.NEGATIVE_INFINITY;

  /** @returns in how many milliseconds to look again. */
  async function look(one: WatchedMemory, rearm: boolean): Promise<number> {
    const level = await one.read();
    if (!level) return MOST_PAUSE_MS;
    const thresholdBytes = amountOf(one.threshold, level.capacityBytes);
    if (rearm) arm(one, level.capacityBytes - thresholdBytes + level.inactiveFileBytes);
    const distance = availableBytes(level) - thresholdBytes;
    if (distance >= 0) return Math.min(MOST_PAUSE_MS, Math.max(LEAST_PAUSE_MS, distance / FASTEST_BYTES_PER_MS));
    deps.onLow(one.name);
    return LOW_PAUSE_MS;
  }

  function arm(one: WatchedMemory, usageBytes: number): void {
    try {
      one.arm?.(usageBytes);
    } catch (error) {
      log.debug({ memory: one.name, err: error }, 'the kernel could not be asked to tell when memory gets short');
    }
  }

  async function lookAtAll(): Promise<number> {
    const rearm = clock.monotonicMs() - armedMs >= ARM_MS;
    if (rearm) armedMs = clock.monotonicMs();
    const pauses = watched.map((one) =>
      look(one, rearm).catch((error) => {
        log.warn({ memory: one.name, err: error }, 'memory could not be looked at');
        return MOST_PAUSE_MS;
      }),
    );
    return Math.min(MOST_PAUSE_MS, ...(await Promise.all(pauses)));
  }

  return {
    check: () => wake(),
    async run(signal) {
      while (!signal.aborted) {
        const woken = new AbortController();
        wake = () => woken.abort();
        const pauseMs = await lookAtAll();
        await clock.sleep(pauseMs, AbortSignal.any([signal, woken.signal])).catch(() => {});
        // Notifications that come in a row are one.
        if (woken.signal.aborted) await clock.sleep(LEAST_PAUSE_MS, signal).catch(() => {});
      }
    },
  };
}
