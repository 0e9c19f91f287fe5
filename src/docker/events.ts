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

/** Follows the Engine's container events until the signal aborts; reconnects, continuing after the last event seen. */
export async function followContainerEvents(options: EventStreamOptions, signal: AbortSignal): Promise<void> {
  const { docker, clock, log } = options;
  const backoff = createBackoff({ initialMs: 100, maxMs: 5_000, jitter: 0.2 });
  let sinceNano: bigint | undefined;
  while (!signal.aborted) {
    try {
      const onOpen = () => {
        backoff.reset();
        options.onOpen();
      };
      const { labels, actions } = options;
      for await (const event of docker.containerEvents({ sinceNano, labels, actions, onOpen }, signal)) {
        // The time comes as a JSON number, whose last digits are lost above 2⁵³: a step back, so that events may come twice, never not at all.
        sinceNano = event.timeNano - 1_000n;
        options.onEvent(event);
      }
      throw new Error('the Engine closed the event stream');
    } catch (error) {
      if (signal.aborted) return;
      options.onClosed?.(error);
      const delayMs = backoff.nextMs();
      log.warn({ err: error, retryMs: Math.round(delayMs) }, 'docker event stream lost');
      await clock.sleep(delayMs, signal).catch(() => undefined);
    }
  }
}
