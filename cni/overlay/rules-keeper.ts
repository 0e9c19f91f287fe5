import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { PerFamily } from './backend.ts';
import type { Traffic } from './traffic.ts';

const DEFAULT_INTERVAL_MS = 30_000;

/** Keeps the rules for pods' traffic in place until the signal aborts; somebody flushes a table now and then. */
export async function keepRules(
  traffic: Traffic,
  of: {
    networks: PerFamily<string>;
    /** As of now: they are asked for at each look. */
    podCidrs(): PerFamily<string>;
    /** Default 30 s: a look takes programs. */
    intervalMs?: number;
  },
  deps: { log: Logger; clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  const { log, clock } = deps;
  while (!signal.aborted) {
    try {
      const changes = await traffic.ensure({ networks: of.networks, podCidrs: of.podCidrs() }, signal);
      if (changes.length > 0) log.info({ changes }, "the overlay's rules brought in order");
    } catch (error) {
      if (!signal.aborted) log.error({ err: error }, "the overlay's rules could not be written; trying again");
    }
    await clock.sleep(of.intervalMs ?? DEFAULT_INTERVAL_MS, signal).catch(() => {});
  }
}
