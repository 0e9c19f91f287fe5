import { retry } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { AgentMetrics } from './ports.ts';
import type { RuntimeCache } from './runtime-cache.ts';

const ENGINE_RETRY = { initialMs: 200, maxMs: 5_000 };
/** The agent is unhealthy after this time without an answer to the list ("PLEG is not healthy"). One container that hangs is no reason. */
const LIST_SILENCE_MS = 3 * 60_000;

export interface RelisterOptions {
  /** How often all containers are listed, whatever the event stream says. */
  relistMs: number;
}

export interface RelisterDependencies {
  runtime: Pick<RuntimeCache, 'relist'>;
  metrics: Pick<AgentMetrics, 'relist'>;
  heartbeats?: Heartbeats;
  clock: Clock;
  onFailure(error: unknown, retryMs: number): void;
  /** After each relist but the first. */
  onRelisted(): Promise<void>;
}

export interface Relister {
  /** The first look: returns when the Engine has answered. */
  first(signal: AbortSignal): Promise<void>;
  /** A look soon; a request during one causes one more. */
  request(): void;
  run(signal: AbortSignal): Promise<void>;
}

/** Lists now and then, and whenever asked. */
export function createRelister(options: RelisterOptions, deps: RelisterDependencies): Relister {
  const { clock, onFailure } = deps;
  let isWanted = false;
  let wake = () => {};
  const beat = deps.heartbeats?.register('relist', LIST_SILENCE_MS);

  const relist = (signal: AbortSignal) =>
    retry(() => deps.metrics.relist(() => deps.runtime.relist(signal, beat)), {
      ...ENGINE_RETRY,
      clock,
      signal,
      onFailure,
    });

  return {
    first: relist,
    request() {
      isWanted = true;
      wake();
    },
    async run(signal) {
      while (!signal.aborted) {
        const nap = new AbortController();
        const asked = new Promise<void>((resolve) => {
          wake = resolve;
        });
        const end = AbortSignal.any([signal, nap.signal]);
        if (!isWanted) await Promise.race([asked, clock.sleep(options.relistMs, end).catch(() => undefined)]);
        nap.abort();
        isWanted = false;
        if (signal.aborted) return;
        await relist(signal).catch(() => undefined);
        if (signal.aborted) return;
        await deps.onRelisted();
      }
    },
  };
}
