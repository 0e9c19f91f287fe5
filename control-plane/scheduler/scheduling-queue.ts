import type { Pod } from '../../src/kube/types.ts';
import { backoffDelayMs } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';

export interface SchedulingQueueOptions {
  clock: Clock;
  /** Called whenever a pod becomes ready to be tried. */
  onReady(): void;
}

interface Entry {
  pod: Pod;
  attempts: number;
  /** Grows with every entry into the active queue: first come, first served. */
  order: number;
  state: 'active' | 'taken' | 'backoff' | 'unschedulable';
  cancelTimer?: () => void;
}

const BACKOFF = { initialMs: 1000, maxMs: 10_000 };
/** Pods that nothing has helped are looked at again after this time, should an event have been missed. */
const UNSCHEDULABLE_FLUSH_MS = 300_000;

/** Pods that wait for a node, by uid: active (by priority, then age), backing off, or waiting for a change that may help. */
export interface SchedulingQueue {
  /** A pending pod as the API shows it: new ones become active, known ones are only refreshed unless `isChanged`. */
  offer(pod: Pod, isChanged: boolean): void;
  remove(uid: string): void;
  /** The next active pod; it is `taken` until `done`, `failed` or `refused` is called. */
  take(): Pod | undefined;
  /** Bound: nothing more to do. */
  done(uid: string): void;
  /** An error: tried again after a back-off. */
  failed(uid: string): void;
  /** No node fits: waits for `retry` (or the flush). */
  refused(uid: string): void;
  /** Looks at pods that no node fitted: 'now' makes one active at once, 'later' after its back-off, undefined leaves it. */
  retry(judge: (pod: Pod) => 'now' | 'later' | undefined): void;
  sizes(): Record<Entry['state'], number>;
  /** Stops all timers. */
  close(): void;
}

export function createSchedulingQueue({ clock, onReady }: SchedulingQueueOptions): SchedulingQueue {
  const entries = new Map<string, Entry>();
  /** Those that no node fitted: most events find it empty. */
  const waiting = new Set<Entry>();
  /** Sorted, the next one last. */
  const active: Entry[] = [];
  let nextOrder = 0;

  function activate(entry: Entry) {
    entry.cancelTimer?.();
    waiting.delete(entry);
    entry.state = 'active';
    entry.order = nextOrder++;
    let low = 0;
    let high = active.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (comesAfter(active[middle]!, entry)) low = middle + 1;
      else high = middle;
    }
    active.splice(low, 0, entry);
    onReady();
  }

  function wait(entry: Entry, state: 'backoff' | 'unschedulable', delayMs: number) {
    entry.cancelTimer?.();
    entry.state = state;
    entry.cancelTimer = clock.after(delayMs, () => activate(entry));
  }

  const backoffMs = (entry: Entry) => backoffDelayMs(BACKOFF, Math.max(0, entry.attempts - 1));

  function drop(uid: string) {
    const entry = entries.get(uid);
    if (!entry) return;
    entry.cancelTimer?.();
    entries.delete(uid);
    waiting.delete(entry);
    if (entry.state === 'active') active.splice(active.indexOf(entry), 1);
  }

  return {
    offer(pod, isChanged) {
      const entry = entries.get(pod.metadata.uid);
      if (!entry) {
        const fresh: Entry = { pod, attempts: 0, order: 0, state: 'active' };
        entries.set(pod.metadata.uid, fresh);
        return activate(fresh);
      }
      entry.pod = pod;
      if (isChanged && waiting.has(entry)) activate(entry);
    },
    remove: drop,
    take() {
      const entry = active.pop();
      if (!entry) return undefined;
      entry.state = 'taken';
      entry.attempts++;
      return entry.pod;
    },
    done: drop,
    failed(uid) {
      const entry = entries.get(uid);
      if (entry) wait(entry, 'backoff', backoffMs(entry));
    },
    refused(uid) {
      const entry = entries.get(uid);
      if (!entry) return;
      waiting.add(entry);
      wait(entry, 'unschedulable', UNSCHEDULABLE_FLUSH_MS);
    },
    retry(judge) {
      for (const entry of [...waiting]) {
        const verdict = judge(entry.pod);
        if (verdict === 'now') activate(entry);
        else if (verdict === 'later' && entry.state === 'unschedulable') wait(entry, 'backoff', backoffMs(entry));
      }
    },
    sizes() {
      const sizes = { active: 0, taken: 0, backoff: 0, unschedulable: 0 };
      for (const { state } of entries.values()) sizes[state]++;
      return sizes;
    },
    close() {
      for (const { cancelTimer } of entries.values()) cancelTimer?.();
    },
  };
}

/** The list is read from its end: lower priority and later order stand first. */
function comesAfter(a: Entry, b: Entry): boolean {
  const [left, right] = [a.pod.spec.priority ?? 0, b.pod.spec.priority ?? 0];
  return left === right ? a.order > b.order : left < right;
}
