const MOST_MS = 2000;

/**
 * How long to wait between two looks at what somebody waits for: `leastMs`, and longer where a look takes long. Whoever waits for a slow
 * machine must not be what keeps it busy. Pure.
 * @param lookedMs what the last look took
 */
export function pauseBeforeLookMs(lookedMs: number, leastMs: number): number {
  return Math.max(leastMs, Math.min(9 * lookedMs, MOST_MS));
}
