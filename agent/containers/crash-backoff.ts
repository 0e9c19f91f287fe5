import { type Age, createAge } from '../../src/runtime/age.ts';
import { backoffDelayMs } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';

export interface CrashBackoffOptions {
  /** 10 s; lowered to the maximum when that is smaller. */
  initialMs: number;
  /** 300 s (`crashLoopBackOff.maxContainerRestartPeriod`). */
  maxMs: number;
}

interface Entry {
  delayMs: number;
  /** Wall time, since it is compared with the container's FinishedAt. */
  updatedAtMs: number;
}

/** What a restart at `nowMs` has to wait for. */
export interface CrashDelay {
  delayMs: number;
  /** Wall time from which on the container may start. */
  untilMs: number;
}

/** A run of a container as its record tells; wall times. */
export interface PastRun {
  restartCount: number;
  createdAtMs: number;
  finishedAtMs?: number;
}

export interface CrashBackoff {
  /** The wait for a container that finished at `finishedAtMs`; undefined: it may start now. */
  delay(key: string, finishedAtMs: number, nowMs: number): CrashDelay | undefined;
  /** A restart is made: the next one waits longer. */
  restarted(key: string, finishedAtMs: number): void;
  /** What the runtime still tells of restarts before this agent's life; `runs` newest first. Known keys stay as they are. */
  recall(key: string, runs: readonly PastRun[]): void;
  /** Forgets the keys of a pod. */
  forget(prefix: string): void;
}

/** `<pod uid>_<container>_<hash>`: a changed image starts afresh. */
export function crashKey(uid: string, container: string, hash: string): string {
  return `${uid}_${container}_${hash}`;
}

/**
 * First restart at once, then 10, 20, 40 … 300 s after the container finished; forgotten after a run of more than
 * twice the maximum (sheet §5). It lives in memory; other than upstream's, a restarted agent finds it again in the records.
 */
export function createCrashBackoff(options: CrashBackoffOptions, clock: Clock): CrashBackoff {
  const entries = new Map<string, Entry>();
  /** How long ago each container finished, whatever happens to the wall clock meanwhile. */
  const ages = new Map<string, Age>();
  const initialMs = Math.min(options.initialMs, options.maxMs);

  function valid(key: string, finishedAtMs: number): Entry | undefined {
    const entry = entries.get(key);
    return entry && finishedAtMs - entry.updatedAtMs <= 2 * options.maxMs ? entry : undefined;
  }

  return {
    delay(key, finishedAtMs, nowMs) {
      const entry = valid(key, finishedAtMs);
      if (!entry) return undefined;
      const age = ages.get(key) ?? createAge(clock);
      ages.set(key, age);
      const leftMs = entry.delayMs - age(finishedAtMs);
      return leftMs > 0 ? { delayMs: entry.delayMs, untilMs: nowMs + leftMs } : undefined;
    },
    restarted(key, finishedAtMs) {
      const entry = valid(key, finishedAtMs);
      const delayMs = entry ? Math.min(entry.delayMs * 2, options.maxMs) : initialMs;
      entries.set(key, { delayMs, updatedAtMs: clock.nowMs() });
    },
    recall(key, runs) {
      const [last, before] = runs;
      if (!last || last.restartCount === 0 || entries.has(key)) return;
      const byCount = backoffDelayMs({ ...options, initialMs }, last.restartCount - 1);
      // How long the last restart had waited tells more than the count, which also counts crashes of long ago.
      const waitedMs = before?.finishedAtMs === undefined ? undefined : last.createdAtMs - before.finishedAtMs;
      const doublings = waitedMs === undefined ? undefined : Math.floor(Math.log2(waitedMs / initialMs)) + 1;
      const byWait =
        doublings === undefined ? byCount : backoffDelayMs({ ...options, initialMs }, Math.max(0, doublings));
      entries.set(key, { delayMs: Math.min(byCount, byWait), updatedAtMs: last.createdAtMs });
    },
    forget(prefix) {
      for (const map of [entries, ages]) for (const key of map.keys()) if (key.startsWith(prefix)) map.delete(key);
    },
  };
}
