import type { Clock } from './clock.ts';

export interface BoundedRunnerOptions {
  clock: Clock;
  /** Least time between the starts of two runs. */
  minIntervalMs: number;
  /** A run happens at least this often, asked for or not. */
  maxIntervalMs: number;
  /** Delay before the next try after a run threw. */
  retryMs: number | ((error: unknown) => number);
  run(signal: AbortSignal): Promise<void>;
  onError?(error: unknown, retryMs: number): void;
}

/**
 * Coalesces requests into runs, as kube-proxy's BoundedFrequencyRunner does.
 *
 *     request  x  x x        x
 *     run      |----|--min--|----|       ...max without a request...      |----|
 */
export function createBoundedRunner(options: BoundedRunnerOptions) {
  const { clock } = options;
  let wake: (() => void) | undefined;
  let requested = false;
  return {
    /** Asks for a run soon; never blocks. */
    request() {
      requested = true;
      wake?.();
    },
    async run(signal: AbortSignal): Promise<void> {
      let lastStartMs = Number.NEGATIVE_INFINITY;
      let retryAtMs = Number.POSITIVE_INFINITY;
      const onAbort = () => wake?.();
      signal.addEventListener('abort', onAbort, { once: true });
      while (!signal.aborted) {
        const now = clock.monotonicMs();
        const earliest = lastStartMs + options.minIntervalMs;
        const due = requested ? earliest : Math.max(earliest, Math.min(retryAtMs, lastStartMs + options.maxIntervalMs));
        // The first run waits for its first request: nothing is written before the inputs are known.
        const idle = lastStartMs === Number.NEGATIVE_INFINITY && !requested;
        if (idle || due > now) {
          await new Promise<void>((resolve) => {
            const cancel = idle ? undefined : clock.after(due - now, resolve);
            wake = () => {
              cancel?.();
              resolve();
            };
          });
          wake = undefined;
          continue;
        }
        requested = false;
        retryAtMs = Number.POSITIVE_INFINITY;
        lastStartMs = now;
        try {
          await options.run(signal);
        } catch (error) {
          if (signal.aborted) return;
          const retryMs = typeof options.retryMs === 'function' ? options.retryMs(error) : options.retryMs;
          options.onError?.(error, retryMs);
          retryAtMs = clock.monotonicMs() + retryMs;
        }
      }
    },
  };
}
