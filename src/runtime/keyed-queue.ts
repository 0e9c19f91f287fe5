import { type BackoffOptions, backoffDelayMs } from './backoff.ts';
import type { Clock } from './clock.ts';

export interface KeyedQueueOptions {
  /** How many keys are processed at once; a key is never processed twice at the same time. */
  concurrency: number;
  clock: Clock;
  /** Delay before a key is tried again after its work threw. Jitter keeps apart whom one server's trouble has hit together. */
  retry: BackoffOptions;
  /** 0…1, for jitter; Math.random unless said. */
  random?: () => number;
  /** Reconciles one key. Throwing requeues it with back-off. */
  process(key: string, signal: AbortSignal): Promise<void>;
  onError?(key: string, error: unknown, delayMs: number): void;
  /** A key that did not wait yet waits now. */
  onAdd?(key: string): void;
}

export interface KeyedQueue {
  /** Marks the key dirty. Many calls before the work starts are one run; a call during the run causes one more. */
  add(key: string): void;
  /** Marks the key dirty after a delay. The earliest of several delays wins. */
  addAfter(key: string, delayMs: number): void;
  /** Keys that wait or run now. */
  size(): number;
  /** Works until the signal aborts, then waits for the runs under way. */
  run(signal: AbortSignal): Promise<void>;
}

/** The one work queue of every controller: level-triggered, deduplicating, with per-key back-off. */
export function createKeyedQueue(options: KeyedQueueOptions): KeyedQueue {
  const { clock } = options;
  const dirty = new Set<string>();
  const running = new Set<string>();
  const failures = new Map<string, number>();
  const delayed = new Map<string, { dueMs: number; cancel: () => void }>();
  const work = new Set<Promise<void>>();
  let signal: AbortSignal | undefined;

  function pump() {
    if (!signal || signal.aborted) return;
    for (const key of dirty) {
      if (running.size >= options.concurrency) return;
      if (running.has(key)) continue;
      dirty.delete(key);
      running.add(key);
      const one = runOne(key, signal).finally(() => {
        running.delete(key);
        work.delete(one);
        pump();
      });
      work.add(one);
    }
  }

  async function runOne(key: string, abort: AbortSignal) {
    try {
      await options.process(key, abort);
      failures.delete(key);
    } catch (error) {
      if (abort.aborted) return;
      const count = failures.get(key) ?? 0;
      failures.set(key, count + 1);
      const spread = 1 + (options.retry.jitter ?? 0) * (options.random ?? Math.random)();
      const delayMs = backoffDelayMs(options.retry, count) * spread;
      options.onError?.(key, error, delayMs);
      queue.addAfter(key, delayMs);
    }
  }

  const queue: KeyedQueue = {
    add(key) {
      delayed.get(key)?.cancel();
      delayed.delete(key);
      if (!dirty.has(key)) {
        dirty.add(key);
        options.onAdd?.(key);
      }
      pump();
    },
    addAfter(key, delayMs) {
      // Work that ends after the abort must not leave a timer behind that keeps the process alive.
      if (signal?.aborted) return;
      const dueMs = clock.monotonicMs() + delayMs;
      const planned = delayed.get(key);
      if (planned && planned.dueMs <= dueMs) return;
      planned?.cancel();
      delayed.set(key, { dueMs, cancel: clock.after(delayMs, () => queue.add(key)) });
    },
    size: () => dirty.size + running.size,
    async run(abort) {
      signal = abort;
      pump();
      await new Promise<void>((resolve) => {
        if (abort.aborted) resolve();
        else abort.addEventListener('abort', () => resolve(), { once: true });
      });
      for (const { cancel } of delayed.values()) cancel();
      delayed.clear();
      await Promise.allSettled(work);
    },
  };
  return queue;
}
