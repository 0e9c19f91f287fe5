import { createBackoff } from '../runtime/backoff.ts';
import { type Clock, timestamp } from '../runtime/clock.ts';
import type { Logger } from '../runtime/log.ts';
import { createTokenBucket, type TokenBucketOptions } from '../runtime/token-bucket.ts';
import type { KubeClient } from './client.ts';
import { ApiError, isNotFound, isTransient } from './errors.ts';
import { type CorrelatedEvent, createEventCorrelator } from './event-correlator.ts';
import { events } from './resources.ts';
import type { Draft, Event, KubeObject, ObjectReference } from './types.ts';

export interface EventRecorder {
  /**
   * Tells people what happened to an object; returns at once and never throws. `reason` is one CamelCase word.
   * Repeats raise the count of one Event; floods of similar ones are merged, then dropped.
   * @param annotations for programs; those of the first of several repeats stay
   */
  event(
    object: KubeObject | ObjectReference,
    type: 'Normal' | 'Warning',
    reason: string,
    message: string,
    fieldPath?: string,
    annotations?: Readonly<Record<string, string>>,
  ): void;
  /** Resolves when everything recorded so far is written or given up. */
  flush(): Promise<void>;
}

export interface EventRecorderOptions {
  client: KubeClient;
  /** Who reports: 'kubelet', 'deployment-controller'. */
  component: string;
  /** The node of the reporter, where it has one. */
  host?: string;
  /** How fast events are written; as fast as the server takes them without it. */
  limit?: TokenBucketOptions;
  log: Logger;
  clock: Clock;
}

interface AnnotatedEvent extends CorrelatedEvent {
  annotations?: Readonly<Record<string, string>>;
}

/** Events that wait for a slow server; beyond this the newest are dropped, since events are only news. */
const MAX_WAITING = 1000;
const MAX_TRIES = 6;
const RETRY = { initialMs: 500, maxMs: 10_000, jitter: 0.5 };
/** The server's limit for Event.message. */
const MAX_MESSAGE_BYTES = 1024;

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  const { client, component, host, clock } = options;
  const log = options.log.child({ recorder: component });
  const correlator = createEventCorrelator(clock);
  const pace = createTokenBucket(options.limit ?? { perSecond: 0, burst: 0 }, clock);
  let waiting = 0;
  let tail = Promise.resolve();

  async function write(event: AnnotatedEvent): Promise<void> {
    const backoff = createBackoff(RETRY);
    for (let tries = 1; ; tries++) {
      try {
        return await send(event);
      } catch (error) {
        const pointless = (error instanceof ApiError && !isTransient(error)) || isClosed(error);
        if (pointless || tries >= MAX_TRIES) {
          if (!isClosed(error))
            log.warn({ err: error, reason: event.reason }, 'an event could not be written and is dropped');
          return;
        }
        await clock.sleep(backoff.nextMs());
      }
    }
  }

  async function send(event: AnnotatedEvent): Promise<void> {
    const { regarding, entry } = event;
    // Repeats that came while this one waited are in the count already.
    if (entry.writtenCount === entry.count) return;
    const waitMs = pace.reserve();
    if (waitMs > 0) await clock.sleep(waitMs);
    // What was repeated meanwhile goes with it.
    const count = entry.count;
    const namespace = regarding.namespace || 'default';
    if (entry.name) {
      try {
        const patch = { count, lastTimestamp: timestamp(entry.lastMs), message: event.message };
        await client.patch(events, { namespace, name: entry.name, type: 'strategic', patch });
        entry.writtenCount = count;
        return;
      } catch (error) {
        if (!isNotFound(error)) throw error;
        // Expired (events live for an hour): tell it anew.
      }
    }
    const name = `${regarding.name}.${uniqueSuffix(entry.lastMs)}`;
    const draft: Draft<Event> = {
      metadata: { name, namespace, ...(event.annotations && { annotations: { ...event.annotations } }) },
      involvedObject: regarding,
      type: event.type,
      reason: event.reason,
      message: event.message,
      source: { component, ...(host && { host }) },
      firstTimestamp: timestamp(entry.firstMs),
      lastTimestamp: timestamp(entry.lastMs),
      count,
      eventTime: null as unknown as string,
      reportingComponent: component,
      reportingInstance: host ?? '',
    };
    await client.create(events, draft, { namespace });
    entry.name = name;
    entry.writtenCount = count;
  }

  return {
    event(object, type, reason, message, fieldPath, annotations) {
      try {
        const regarding = referenceTo(object, fieldPath);
        const event = correlator.correlate(regarding, type, reason, truncate(message));
        if (!event) return;
        if (waiting >= MAX_WAITING) {
          log.warn({ reason }, 'too many events wait for the server; one is dropped');
          return;
        }
        waiting++;
        tail = tail.then(() => write({ ...event, ...(annotations && { annotations }) })).finally(() => waiting--);
      } catch (error) {
        log.error({ err: error, reason }, 'an event could not be recorded');
      }
    },
    flush: () => tail,
  };
}

/** The client was closed: the program is stopping. */
function isClosed(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === 'UND_ERR_DESTROYED' || code === 'UND_ERR_CLOSED';
}

/** A reference to an object, as events carry it. */
export function referenceTo(object: KubeObject | ObjectReference, fieldPath?: string): ObjectReference {
  if (!('metadata' in object)) return fieldPath ? { ...object, fieldPath } : (object as ObjectReference);
  const { apiVersion, kind, metadata } = object as KubeObject;
  return {
    kind,
    ...(metadata.namespace && { namespace: metadata.namespace }),
    name: metadata.name,
    uid: metadata.uid,
    apiVersion,
    resourceVersion: metadata.resourceVersion,
    ...(fieldPath && { fieldPath }),
  };
}

function truncate(message: string): string {
  if (Buffer.byteLength(message) <= MAX_MESSAGE_BYTES) return message;
  // A character cut in two at the border decodes to U+FFFD: drop it.
  return `${Buffer.from(message)
    .subarray(0, MAX_MESSAGE_BYTES - 3)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')}...`;
}

let sequence = 0;

/** Sixteen hex digits from the time and a counter: two events of one object in the same millisecond get two names. */
function uniqueSuffix(nowMs: number): string {
  sequence = (sequence + 1) % 1_000_000;
  return (BigInt(Math.floor(nowMs)) * 1_000_000n + BigInt(sequence)).toString(16).padStart(16, '0');
}
