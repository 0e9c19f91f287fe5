import { createBackoff } from '../runtime/backoff.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/log.ts';
import type { ContainerEvent, DockerEngine } from './engine.ts';

export interface EventStreamOptions {
  docker: Pick<DockerEngine, 'containerEvents'>;
  labels?: string[];
  /** Only these actions; all unless said. */
  actions?: string[];
  clock: Clock;
  log: Logger;
  onEvent(event: ContainerEvent): void;
  /** The stream is open (again). Events may have been lost before a reopening (the Engine remembers only the last 256): look at everything. */
  onOpen(): void;
  onClosed?(error: unknown): void;
}

export interface EventStream {
  /** Follows until the signal aborts; reconnects, continuing after the last event seen. */
  run(signal: AbortSignal): Promise<void>;
  /** The stream seems to be deaf though it stands (half-open: no FIN ever came): leaves it for a new one. */
  reopen(): void;
}

/** A stream that lived shorter than this has proved nothing: an Engine that crash-loops accepts one after another. */
const PROVEN_MS = 5_000;

/** The Engine's container events, across its restarts. */
export function createEventStream(options: EventStreamOptions): EventStream {
  const { docker, clock, log, labels, actions } = options;
  const backoff = createBackoff({ initialMs: 100, maxMs: 5_000, jitter: 0.2 });
  let sinceNano: bigint | undefined;
  let current = new AbortController();
  let openedMs: number | undefined;

  async function follow(signal: AbortSignal): Promise<void> {
    openedMs = undefined;
    const onOpen = () => {
      openedMs = clock.monotonicMs();
      options.onOpen();
    };
    try {
      for await (const event of docker.containerEvents({ sinceNano, labels, actions, onOpen }, signal)) {
        // The time comes as a JSON number, whose last digits are lost above 2⁵³: a step back, so that events may come twice, never not at all.
        sinceNano = event.timeNano - 1_000n;
        options.onEvent(event);
      }
    } finally {
      if (openedMs !== undefined && clock.monotonicMs() - openedMs >= PROVEN_MS) backoff.reset();
    }
    throw new Error('the Engine closed the event stream');
  }

  return {
    async run(signal) {
      while (!signal.aborted) {
        current = new AbortController();
        try {
          await follow(AbortSignal.any([signal, current.signal]));
        } catch (error) {
          if (signal.aborted) return;
          options.onClosed?.(error);
          const delayMs = backoff.nextMs();
          log.warn({ err: error, retryMs: Math.round(delayMs) }, 'docker event stream lost');
          await clock.sleep(delayMs, signal).catch(() => undefined);
        }
      }
    },
    reopen() {
      const stream = current;
      const leave = () => stream.abort(new Error('the event stream missed what has happened'));
      // Not more often than that: under load events are late, which a new stream would only make worse.
      const waitMs = PROVEN_MS - (clock.monotonicMs() - (openedMs ?? clock.monotonicMs()));
      if (waitMs > 0) clock.after(waitMs, leave);
      else leave();
    },
  };
}
