import type { Clock } from './clock.ts';

/** What `/healthz` asks of every long loop: did it turn within the time it promised? */
export interface Heartbeats {
  /** Registers a loop that promises a beat at least every `maxSilenceMs`; the returned function is the beat. */
  register(name: string, maxSilenceMs: number): () => void;
  /** The loops that have been silent for too long; empty means healthy. */
  overdue(): { name: string; silentMs: number; maxSilenceMs: number }[];
}

export function createHeartbeats(clock: Clock): Heartbeats {
  const loops = new Map<string, { lastMs: number; maxSilenceMs: number }>();
  return {
    register(name, maxSilenceMs) {
      const loop = { lastMs: clock.monotonicMs(), maxSilenceMs };
      loops.set(name, loop);
      return () => {
        loop.lastMs = clock.monotonicMs();
      };
    },
    overdue() {
      const now = clock.monotonicMs();
      return [...loops]
        .map(([name, loop]) => ({ name, silentMs: now - loop.lastMs, maxSilenceMs: loop.maxSilenceMs }))
        .filter((loop) => loop.silentMs > loop.maxSilenceMs);
    },
  };
}
