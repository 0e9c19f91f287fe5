import type { Clock } from '../../src/runtime/clock.ts';

/** `registryPullQPS` and `registryBurst`: tokens come back at `perSecond`, `burst` of them at most; 0 per second: no limit. */
export function createPullRate({ perSecond, burst }: { perSecond: number; burst: number }, clock: Clock) {
  let tokens = burst;
  let countedMs = clock.monotonicMs();
  return {
    /** Takes a token if there is one; never waits. */
    tryTake(): boolean {
      if (perSecond <= 0) return true;
      const now = clock.monotonicMs();
      tokens = Math.min(burst, tokens + ((now - countedMs) / 1000) * perSecond);
      countedMs = now;
      if (tokens < 1) return false;
      tokens--;
      return true;
    },
  };
}

export type PullRate = ReturnType<typeof createPullRate>;
