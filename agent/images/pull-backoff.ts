import { type BackoffOptions, backoffDelayMs } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';

interface Failed {
  failures: number;
  atMs: number;
  /** `ErrImagePull: <message>` */
  message: string;
}

/** Of each pod and image: how long after failures no pull is tried. Upstream's, with its forgetting after twice the longest delay. */
export function createPullBackoff(options: BackoffOptions, clock: Clock) {
  const entries = new Map<string, Failed>();

  function find(key: string): Failed | undefined {
    const entry = entries.get(key);
    if (entry && clock.monotonicMs() - entry.atMs > 2 * options.maxMs) entries.delete(key);
    return entries.get(key);
  }

  return {
    /** While no pull may be tried. */
    waiting(key: string): { message: string; forMs: number } | undefined {
      const entry = find(key);
      if (!entry) return undefined;
      const forMs = entry.atMs + backoffDelayMs(options, entry.failures - 1) - clock.monotonicMs();
      return forMs > 0 ? { message: entry.message, forMs } : undefined;
    },
    /** @returns milliseconds until the next try */
    failed(key: string, message: string): number {
      const failures = (find(key)?.failures ?? 0) + 1;
      entries.set(key, { failures, atMs: clock.monotonicMs(), message });
      return backoffDelayMs(options, failures - 1);
    },
    succeeded(key: string): void {
      entries.delete(key);
    },
    forget(prefix: string): void {
      for (const key of entries.keys()) if (key.startsWith(prefix)) entries.delete(key);
    },
  };
}
