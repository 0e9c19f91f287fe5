import type { Clock } from './clock.ts';

export interface BackoffOptions {
  initialMs: number;
  maxMs: number;
  /** Growth per failure; 2 unless said. */
  factor?: number;
  /** 0.1 spreads each delay by up to +10 %; 0 unless said. */
  jitter?: number;
}

/** The n-th delay (n from 0) without jitter: initial·factorⁿ, capped at max. */
export function backoffDelayMs(options: BackoffOptions, failures: number): number {
  return Math.min(options.maxMs, options.initialMs * (options.factor ?? 2) ** failures);
}

/** Counts failures and tells the next delay; `reset()` after a success. */
export function createBackoff(options: BackoffOptions, random: () => number = Math.random) {
  let failures = 0;
  return {
    nextMs(): number {
      const delay = backoffDelayMs(options, failures++);
      return delay * (1 + (options.jitter ?? 0) * random());
    },
    reset() {
      failures = 0;
    },
    get failures() {
      return failures;
    },
  };
}

/** Repeats `attempt` until it resolves or the signal aborts, sleeping between tries. `onFailure` sees each error. */
export async function retry<T>(
  attempt: () => Promise<T>,
  options: BackoffOptions & {
    clock: Clock;
    signal?: AbortSignal;
    onFailure?: (error: unknown, delayMs: number) => void;
  },
): Promise<T> {
  const backoff = createBackoff(options);
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      if (options.signal?.aborted) throw error;
      const delayMs = backoff.nextMs();
      options.onFailure?.(error, delayMs);
      await options.clock.sleep(delayMs, options.signal);
    }
  }
}
