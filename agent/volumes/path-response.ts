import { stat } from 'node:fs/promises';
import type { Clock } from '../../src/runtime/clock.ts';

/** A server that is asked anew after a restart answers within this time; one that is gone never does. */
const RESPONSE_TIMEOUT_MS = 10_000;

/**
 * A first look at a path that may lead to a server which is gone: by a thread of the pool, whose calls cannot be ended.
 * So each path has one look at a time, however often it is asked for: else a dead server would take all threads (R4).
 */
export function createPathResponse(clock: Pick<Clock, 'sleep'>, look: (path: string) => Promise<unknown> = stat) {
  const looks = new Map<string, Promise<void>>();

  return {
    /** Resolves when the path has been looked at, with whatever result. Throws when it gives none in time. */
    async respond(path: string): Promise<void> {
      const fresh = () => {
        const settled = () => {
          looks.delete(path);
        };
        const started = look(path).then(settled, settled);
        looks.set(path, started);
        return started;
      };
      const end = new AbortController();
      const tooLate = clock.sleep(RESPONSE_TIMEOUT_MS, end.signal).then(() => {
        throw new Error(`${path} does not answer`);
      });
      try {
        await Promise.race([looks.get(path) ?? fresh(), tooLate]);
      } finally {
        tooLate.catch(() => {});
        end.abort();
      }
    },
  };
}

export type PathResponse = ReturnType<typeof createPathResponse>;
