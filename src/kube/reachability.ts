import type { Clock } from '../runtime/clock.ts';

/** What requests experience of a server, and what follows from it for connections. `C`: some connections of one kind. */
export interface Reachability<C> {
  /** Something of an answer came, or of a stream. */
  heard(over: C): void;
  /** A request got no answer: its connection broke, was refused, or nothing came in time. */
  failed(startedMs: number): void;
  /** Calls back each time that the server answers again after an outage. @returns takes that back */
  onReturn(listener: () => void): () => void;
}

export interface ReachabilityHooks<C> {
  /** An outage may have begun: connections of today are suspect. */
  onAway(): void;
  /** Nothing at all has come for so long that every connection is taken for dead. */
  onSilence(): void;
  /** It is over. @param wasHeard which connections have shown since it began that they live */
  onReturn(wasHeard: (connections: C) => boolean): void;
}

/** Just below the patience of the node's lease, whose tries are the steady pulse. */
const SILENT_MS = 9_000;
/** A connection that breaks and is made anew is no outage. */
const OUTAGE_MS = 1_000;

/**
 * Tells a server that is gone from one that is slow. After a partition TCP may wait for minutes before it tries again, and a stream without
 * traffic never learns that its other end has forgotten it: connections that were quiet since before an outage are not waited for.
 *
 *     answers ──▶ a request fails ──▶ suspect ──▶ nothing for 9 s ──▶ all connections anew
 *        ▲                               └──────── an answer ──▶ suspects that were quiet end; who waits is woken
 */
export function createReachability<C extends object>(clock: Clock, hooks: ReachabilityHooks<C>): Reachability<C> {
  let heardMs = clock.monotonicMs();
  const heardOverMs = new WeakMap<C, number>();
  let awaySinceMs: number | undefined;
  const listeners = new Set<() => void>();

  return {
    heard(over) {
      const nowMs = clock.monotonicMs();
      heardMs = nowMs;
      heardOverMs.set(over, nowMs);
      if (awaySinceMs === undefined) return;
      const sinceMs = awaySinceMs;
      awaySinceMs = undefined;
      const isOutage = nowMs - sinceMs >= OUTAGE_MS;
      hooks.onReturn((connections) => !isOutage || (heardOverMs.get(connections) ?? 0) > sinceMs);
      if (isOutage) for (const listener of [...listeners]) listener();
    },
    failed(startedMs) {
      // Somebody else got an answer meanwhile: it is slow, or it refuses just this.
      if (heardMs > startedMs) return;
      if (awaySinceMs === undefined) {
        awaySinceMs = startedMs;
        hooks.onAway();
      }
      if (clock.monotonicMs() - startedMs >= SILENT_MS) hooks.onSilence();
    },
    onReturn(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
