import type { Clock } from './clock.ts';

/** Answers that are good for a while, the newest `maxEntries` of them: strangers who ask for ever other keys cost no more memory. */
export interface ExpiringCache<V> {
  get(key: string): V | undefined;
  set(key: string, value: V, ttlMs: number): void;
}

export function createExpiringCache<V>({ maxEntries, clock }: { maxEntries: number; clock: Clock }): ExpiringCache<V> {
  // A Map keeps the order of insertion: the first key is the oldest.
  const entries = new Map<string, { value: V; untilMs: number }>();
  return {
    get(key) {
      const entry = entries.get(key);
      if (!entry) return undefined;
      if (entry.untilMs > clock.monotonicMs()) return entry.value;
      entries.delete(key);
      return undefined;
    },
    set(key, value, ttlMs) {
      entries.delete(key);
      if (ttlMs <= 0) return;
      entries.set(key, { value, untilMs: clock.monotonicMs() + ttlMs });
      const oldest = entries.keys().next();
      if (entries.size > maxEntries && !oldest.done) entries.delete(oldest.value);
    },
  };
}
