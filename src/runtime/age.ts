import type { Clock } from './clock.ts';

/** Milliseconds since a moment of wall time (since the epoch); one in the future is 0 ago. */
export type Age = (atMs: number) => number;

/**
 * Tells how long ago something was that others dated by the wall clock, and goes on from there by the monotonic one: the wall clock
 * is read once for each moment, so that a later step of it, of hours, forward or back, changes nothing.
 */
export function createAge(clock: Clock): Age {
  let seen: { atMs: number; monotonicMs: number } | undefined;
  return (atMs) => {
    if (seen?.atMs !== atMs) seen = { atMs, monotonicMs: clock.monotonicMs() - Math.max(0, clock.nowMs() - atMs) };
    return clock.monotonicMs() - seen.monotonicMs;
  };
}
