import type { Pod } from '../../src/kube/types.ts';
import { backoffDelayMs } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';

export interface RejectionBackoff {
  /** Milliseconds for which this pod, seen first at that monotonic time, is not rejected yet; 0: it may be. Pure reading. */
  holdMs(pod: Pod, seenMs: number): number;
  /** The pod was rejected. */
  rejected(pod: Pod, seenMs: number): void;
  /** The pod was admitted: its owner's next one is judged at once. */
  admitted(pod: Pod): void;
}

interface Entry {
  rejections: number;
  atMs: number;
}

const BACKOFF = { initialMs: 10_000, maxMs: 300_000 };

/**
 * A controller that makes a pod anew as soon as the last one was rejected fills the API with failed pods (R20). Its
 * first pods are rejected at once; those that come after a rejection are kept waiting, 10 s, 20 s … 5 min, and run if there
 * is room before. Pods of nobody are rejected at once: nobody makes them again.
 */
export function createRejectionBackoff(clock: Clock): RejectionBackoff {
  const entries = new Map<string, Entry>();
  const ownerOf = (pod: Pod) => pod.metadata.ownerReferences?.find(({ controller }) => controller)?.uid;

  /** An owner that was quiet for twice the longest wait starts afresh. */
  function forgetQuiet(): void {
    for (const [owner, { atMs }] of entries) if (clock.monotonicMs() - atMs > 2 * BACKOFF.maxMs) entries.delete(owner);
  }

  return {
    holdMs(pod, seenMs) {
      const entry = entries.get(ownerOf(pod) ?? '');
      // One that was there before the last rejection is no answer to it.
      if (!entry || seenMs < entry.atMs) return 0;
      const sinceMs = clock.monotonicMs() - entry.atMs;
      if (sinceMs > 2 * BACKOFF.maxMs) return 0;
      return Math.max(0, backoffDelayMs(BACKOFF, entry.rejections - 1) - sinceMs);
    },
    rejected(pod, seenMs) {
      forgetQuiet();
      const owner = ownerOf(pod);
      if (!owner) return;
      const known = entries.get(owner);
      if (known && seenMs < known.atMs) return;
      entries.set(owner, { rejections: (known?.rejections ?? 0) + 1, atMs: clock.monotonicMs() });
    },
    admitted(pod) {
      entries.delete(ownerOf(pod) ?? '');
    },
  };
}
