import type { Clock } from './clock.ts';

export interface TokenBucketOptions {
  /** Tokens that come back; 0: there is no limit. */
  perSecond: number;
  /** Tokens that there are at most, and at first. */
  burst: number;
}

/** Spaces work out: so many at once, then so many a second. */
export function createTokenBucket({ perSecond, burst }: TokenBucketOptions, clock: Clock) {
  let tokens = burst;
  let countedMs = clock.monotonicMs();

  function refill(): void {
    const now = clock.monotonicMs();
    tokens = Math.min(burst, tokens + ((now - countedMs) / 1000) * perSecond);
    countedMs = now;
  }

  return {
    /** Takes a token, one of the future if need be. @returns milliseconds to wait for it. */
    reserve(): number {
      if (perSecond <= 0) return 0;
      refill();
      tokens--;
      return tokens >= 0 ? 0 : (-tokens / perSecond) * 1000;
    },
    /** Takes a token if there is one. */
    tryTake(): boolean {
      if (perSecond <= 0) return true;
      refill();
      if (tokens < 1) return false;
      tokens--;
      return true;
    },
  };
}
