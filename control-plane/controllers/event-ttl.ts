import { isConflict, isNotFound } from '../../src/kube/errors.ts';
import { events as eventResource } from '../../src/kube/resources.ts';
import type { Event } from '../../src/kube/types.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';

export interface EventTtlOptions {
  /** Events are deleted when they have not been written for so long. */
  ttlMs: number;
  periodMs: number;
}

export const EVENT_TTL_DEFAULTS: EventTtlOptions = { ttlMs: 3_600_000, periodMs: 60_000 };

const ROUND = 'all';
const PAGE_SIZE = 500;

/** Deletes old events: the store keeps everything until told otherwise. Lists page by page instead of holding all events. */
export function createEventTtlController(
  options: EventTtlOptions,
  dependencies: Omit<ControllerDependencies, 'informers' | 'events'>,
): Controller {
  const { client, clock } = dependencies;
  const controller = createReconciler(
    {
      name: 'event-ttl-controller',
      inputs: [],
      concurrency: 1,
      reconcile,
    },
    dependencies,
  );
  controller.queue.addAfter(ROUND, options.periodMs);

  async function reconcile(): Promise<void> {
    controller.queue.addAfter(ROUND, options.periodMs);
    let token: string | undefined;
    do {
      const page = await client.list(eventResource, { limit: PAGE_SIZE, continue: token });
      const deadlineMs = clock.nowMs() - options.ttlMs;
      for (const event of page.items) if (lastWrittenMs(event) < deadlineMs) await remove(event);
      token = page.metadata.continue || undefined;
    } while (token);
  }

  async function remove({ metadata: { namespace, name, uid, resourceVersion } }: Event): Promise<void> {
    try {
      await client.delete(eventResource, { namespace, name, uid, resourceVersion });
    } catch (error) {
      // A conflict is a repeat that came just now: it lives on.
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  return controller;
}

/** The newest of the times that an event carries (core and events.k8s.io shapes). */
export function lastWrittenMs(event: Event): number {
  const times = [
    event.metadata.creationTimestamp,
    event.lastTimestamp,
    event.eventTime,
    event.series?.lastObservedTime,
  ];
  return Math.max(...times.flatMap((time) => (time ? [Date.parse(time)] : [])));
}
