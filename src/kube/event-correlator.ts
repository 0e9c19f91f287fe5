import type { Clock } from '../runtime/clock.ts';
import type { ObjectReference } from './types.ts';

/** What is known of one stored Event, so that a repeat is a PATCH. */
export interface EventEntry {
  /** Name of the Event object once it is written. */
  name?: string;
  count: number;
  /** The count that the server knows. */
  writtenCount: number;
  firstMs: number;
  lastMs: number;
}

export interface CorrelatedEvent {
  regarding: ObjectReference;
  type: string;
  reason: string;
  message: string;
  entry: EventEntry;
}

/** From this many different messages on, of one object and reason within the window, they become one merged event. */
const MAX_SIMILAR = 10;
const SIMILAR_WINDOW_MS = 600_000;
/** Spam filter: each object may have this many events at once, then one every 5 minutes. */
const BURST = 25;
const REFILL_MS = 300_000;
/** Least recently used entries beyond this are forgotten. */
const MAX_ENTRIES = 4096;

/**
 * Decides, as client-go's correlator does, whether an event is new, a repeat, part of a flood to merge, or spam (undefined): first it is
 * merged, then counted, then filtered. What the filter holds back still counts, and is told with the next that passes.
 */
export function createEventCorrelator(clock: Clock) {
  const entries = createRecent<EventEntry>();
  const groups = createRecent<{ messages: Set<string>; lastMs: number }>();
  const buckets = createRecent<{ tokens: number; atMs: number }>();

  function allowed(objectKey: string): boolean {
    const now = clock.monotonicMs();
    const bucket = buckets.get(objectKey) ?? { tokens: BURST, atMs: now };
    bucket.tokens = Math.min(BURST, bucket.tokens + (now - bucket.atMs) / REFILL_MS);
    bucket.atMs = now;
    buckets.set(objectKey, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }

  /** Whether this is one too many of its kind. Those that were told under their own message stay so. */
  function isFlood(groupKey: string, message: string): boolean {
    const now = clock.monotonicMs();
    let group = groups.get(groupKey);
    if (!group || now - group.lastMs > SIMILAR_WINDOW_MS) group = { messages: new Set(), lastMs: now };
    group.lastMs = now;
    groups.set(groupKey, group);
    if (group.messages.has(message)) return false;
    if (group.messages.size + 1 >= MAX_SIMILAR) return true;
    group.messages.add(message);
    return false;
  }

  return {
    correlate(regarding: ObjectReference, type: string, reason: string, message: string): CorrelatedEvent | undefined {
      const { kind, namespace, name, uid, apiVersion, fieldPath } = regarding;
      const objectKey = JSON.stringify([kind, namespace, name, uid, apiVersion]);
      // Containers of one pod flood together: the place within the object tells repeats apart, not floods.
      const groupKey = `${objectKey}${JSON.stringify([type, reason])}`;
      const flood = isFlood(groupKey, message);
      const entryKey = flood ? `${groupKey}*` : `${groupKey}${JSON.stringify([fieldPath, message])}`;
      const nowMs = clock.nowMs();
      const entry = entries.get(entryKey) ?? { count: 0, writtenCount: 0, firstMs: nowMs, lastMs: nowMs };
      entry.count++;
      entry.lastMs = nowMs;
      entries.set(entryKey, entry);
      if (!allowed(objectKey)) return undefined;
      const text = flood ? `(combined from similar events): ${message}` : message;
      return { regarding, type, reason, message: text, entry };
    },
  };
}

/** A map that forgets what was not used for the longest time. */
function createRecent<V>() {
  const map = new Map<string, V>();
  return {
    get: (key: string) => map.get(key),
    set(key: string, value: V) {
      map.delete(key);
      map.set(key, value);
      if (map.size > MAX_ENTRIES) map.delete(map.keys().next().value!);
    },
  };
}
