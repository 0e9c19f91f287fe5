/** The least time between two looks whose difference is shown as a rate. */
const WINDOW_MS = 5_000;
const FIRST_MS = 500;

interface Look {
  usageNanos: number;
  atMs: number;
}

/**
 * Cores in use (× 10⁹) of what is looked at again and again, over the time since a look some seconds ago: several who ask one after the
 * other do not make it jumpy for each other.
 */
export function createCpuRates() {
  const looks = new Map<string, { older?: Look; newer: Look }>();
  return {
    /** @param atMs monotonic. @returns undefined until there are two looks, and when the counter began anew. */
    observe(key: string, usageNanos: number, atMs: number): number | undefined {
      const look = { usageNanos, atMs };
      const known = looks.get(key);
      if (!known || usageNanos < known.newer.usageNanos) {
        looks.set(key, { newer: look });
        return undefined;
      }
      if (atMs - known.newer.atMs >= WINDOW_MS) {
        known.older = known.newer;
        known.newer = look;
      }
      const base = known.older ?? known.newer;
      const elapsedMs = atMs - base.atMs;
      return elapsedMs < FIRST_MS ? undefined : Math.round(((usageNanos - base.usageNanos) / elapsedMs) * 1000);
    },
    retain(keys: ReadonlySet<string>): void {
      for (const key of looks.keys()) if (!keys.has(key)) looks.delete(key);
    },
  };
}
