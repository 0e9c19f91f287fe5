import { createBackoff } from '../runtime/backoff.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Logger } from '../runtime/log.ts';
import type { KubeClient } from './client.ts';
import { ApiError, isGone, isTransient } from './errors.ts';
import { createObjectStore, type InformerHandlers } from './object-store.ts';
import { objectKey, type Resource } from './resources.ts';
import type { KubeObject } from './types.ts';

export type { InformerHandlers };

/**
 * A local, always-current copy of a collection. Its objects are shared by all readers: never change one, copy it first.
 */
export interface Informer<T extends KubeObject> {
  readonly resource: Resource<T>;
  /** Lists and watches until aborted; never gives up on errors. */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves once the first list has been handed to every handler; rejects with the signal's reason. */
  synced(signal?: AbortSignal): Promise<void>;
  hasSynced(): boolean;
  /** The newest resourceVersion that the copy contains; undefined before the first list. A write of one's own is in it once this is not older. */
  resourceVersion(): string | undefined;
  list(): T[];
  /** By 'namespace/name', or 'name' for cluster-scoped kinds. */
  get(key: string): T | undefined;
  /** Calls handlers synchronously, in the order of changes; what exists already is replayed as added. Returns unsubscribe. */
  subscribe(handlers: InformerHandlers<T>): () => void;
  /** Keeps an index up to date, for lookups that would otherwise scan: `const byNode = pods.index(p => [p.spec.nodeName])`. */
  index(keysOf: (object: T) => (string | undefined)[]): (key: string) => T[];
}

export interface InformerOptions<T extends KubeObject> {
  client: KubeClient;
  resource: Resource<T>;
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Shrinks objects before they are kept; may change them in place. See stripManagedFields. */
  transform?: (object: T) => T;
  /** The longest pause between tries while the server is away; 10 s unless said. */
  maxRetryMs?: number;
  log: Logger;
  clock: Clock;
  /** 0…1, for jitter; Math.random unless said. */
  random?: () => number;
}

const PAGE_SIZE = 500;
/** client-go waits up to 30 s; a node whose server is back should not. */
const RETRY = { initialMs: 100, maxMs: 10_000, jitter: 0.5 };
/** A watch that lived for so long had a working server: the next failure starts with a short delay again. */
const HEALTHY_WATCH_MS = 10_000;
/**
 * When a server ends, the watches of all nodes break in the same moment, and its return wakes all of them: they come back over this time. (Of
 * 1,000 nodes with 20 watches each that is 20 watches a millisecond.)
 */
const SPREAD_MS = 1_000;
/** A server that asks for more patience gets this much. */
const LONGEST_RETRY_AFTER_MS = 30_000;
/** An outage of hours is told now and then, not at each try. */
const COMPLAINT_INTERVAL_MS = 60_000;

/** Drops what nobody here reads and what can outweigh the rest of the object. */
export function stripManagedFields<T extends KubeObject>(object: T): T {
  delete object.metadata.managedFields;
  return object;
}

/** list (in pages) → watch with bookmarks → on a broken stream watch again from the last version; on 410 list anew, as a diff. */
export function createInformer<T extends KubeObject>(options: InformerOptions<T>): Informer<T> {
  const { client, resource, clock } = options;
  const log = options.log.child({ informer: resource.plural });
  const transform = options.transform ?? ((object: T) => object);
  const scope = {
    namespace: options.namespace,
    labelSelector: options.labelSelector,
    fieldSelector: options.fieldSelector,
  };
  const store = createObjectStore<T>(log);
  const backoff = createBackoff({ ...RETRY, maxMs: options.maxRetryMs ?? RETRY.maxMs }, options.random);
  const random = options.random ?? Math.random;
  const firstSync = Promise.withResolvers<void>();
  let isSynced = false;
  let complainedMs = Number.NEGATIVE_INFINITY;
  /** Set before handlers run, so that whoever they wake knows how far the copy is. */
  let seenVersion: string | undefined;

  async function listAll(signal: AbortSignal): Promise<string> {
    const found = new Map<string, T>();
    let page: { continue?: string } = {};
    let resourceVersion = '';
    do {
      const list = await client.list(resource, { ...scope, limit: PAGE_SIZE, ...page, signal });
      for (const item of list.items) found.set(objectKey(item), transform(item));
      page = { continue: list.metadata.continue || undefined };
      resourceVersion = list.metadata.resourceVersion ?? '';
    } while (page.continue);
    seenVersion = resourceVersion;
    store.replaceAll(found);
    return resourceVersion;
  }

  /** Follows the stream; resolves with the version to go on from, undefined = list anew. */
  async function follow(from: string, signal: AbortSignal): Promise<string | undefined> {
    let version = from;
    const startedMs = clock.monotonicMs();
    try {
      const timeoutSeconds = Math.round(300 * (1 + random()));
      for await (const event of client.watch(resource, {
        ...scope,
        resourceVersion: version,
        timeoutSeconds,
        signal,
      })) {
        version = event.object.metadata.resourceVersion;
        seenVersion = version;
        if (event.type === 'BOOKMARK') continue;
        if (event.type === 'DELETED') store.remove(transform(event.object));
        else store.put(transform(event.object));
      }
      // The server has said good-bye, as it does now and then; if it does so at once, something is wrong with one of us.
      if (clock.monotonicMs() - startedMs >= 1000) backoff.reset();
      else await pause(new Error('the server ended the watch at once'), signal);
    } catch (error) {
      if (signal.aborted) return version;
      if (clock.monotonicMs() - startedMs >= HEALTHY_WATCH_MS) backoff.reset();
      await pause(error, signal);
      if (isGone(error)) {
        log.debug({ version }, 'watch: the version is too old, listing again');
        return undefined;
      }
      // Other refusals (403, a version that this server never had) may be cured by a list, or are told by it.
      if (error instanceof ApiError && !isTransient(error)) return undefined;
    }
    return version;
  }

  async function pause(error: unknown, signal: AbortSignal): Promise<void> {
    const isFirst = backoff.failures === 0 && isSynced;
    const nextMs = backoff.nextMs();
    const askedMs = Math.min(retryAfterMs(error), LONGEST_RETRY_AFTER_MS);
    const delayMs = Math.max(isFirst ? random() * SPREAD_MS : nextMs, askedMs && askedMs + random() * SPREAD_MS);
    const isLoud = backoff.failures > 3 && clock.monotonicMs() - complainedMs >= COMPLAINT_INTERVAL_MS;
    if (isLoud) complainedMs = clock.monotonicMs();
    const text = `${resource.plural}: list or watch failed, trying again`;
    log[isLoud ? 'warn' : 'debug']({ err: error, failures: backoff.failures, retryMs: Math.round(delayMs) }, text);
    const returned = new AbortController();
    const forget = client.onReturn?.(() => returned.abort());
    await clock.sleep(delayMs, AbortSignal.any([signal, returned.signal])).catch(() => {});
    forget?.();
    if (returned.signal.aborted) await clock.sleep(random() * SPREAD_MS, signal).catch(() => {});
  }

  return {
    resource,
    async run(signal) {
      let version: string | undefined;
      while (!signal.aborted) {
        if (version === undefined) {
          try {
            version = await listAll(signal);
            isSynced = true;
            firstSync.resolve();
          } catch (error) {
            // An expired continue token (410) only means that paging took too long.
            if (!signal.aborted) await pause(error, signal);
            continue;
          }
        }
        version = await follow(version, signal);
      }
    },
    synced(signal) {
      if (!signal || isSynced) return firstSync.promise;
      return new Promise((resolve, reject) => {
        const onAbort = () => reject(signal.reason);
        if (signal.aborted) return onAbort();
        signal.addEventListener('abort', onAbort, { once: true });
        firstSync.promise.then(() => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        });
      });
    },
    hasSynced: () => isSynced,
    resourceVersion: () => seenVersion,
    list: store.list,
    get: store.get,
    subscribe: store.subscribe,
    index: store.index,
  };
}

/** What the server asked for; 0: nothing. */
function retryAfterMs(error: unknown): number {
  return error instanceof ApiError ? (error.status.details?.retryAfterSeconds ?? 0) * 1000 : 0;
}

export interface InformerScope {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
}

/** One informer per (resource, selectors): everybody who asks for the same collection shares its watch and its copy. */
export interface InformerSet {
  /** The shared informer; it starts with `run`, or at once when the set runs already. */
  informer<T extends KubeObject>(resource: Resource<T>, scope?: InformerScope): Informer<T>;
  /** Runs every informer until aborted. */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves when every informer asked for so far has its first list. */
  synced(signal?: AbortSignal): Promise<void>;
}

/** managedFields are dropped: nothing of ours reads them out of an informer. */
export function createInformerSet(client: KubeClient, { log, clock }: { log: Logger; clock: Clock }): InformerSet {
  const informers = new Map<string, Informer<KubeObject>>();
  const running = new Set<Promise<void>>();
  let started: AbortSignal | undefined;

  function start(informer: Informer<KubeObject>, signal: AbortSignal) {
    const run = informer.run(signal).finally(() => running.delete(run));
    running.add(run);
  }

  return {
    informer<T extends KubeObject>(resource: Resource<T>, scope: InformerScope = {}): Informer<T> {
      const { namespace, labelSelector, fieldSelector } = scope;
      const key = JSON.stringify([resource.group, resource.plural, namespace, labelSelector, fieldSelector]);
      const existing = informers.get(key);
      if (existing) return existing as unknown as Informer<T>;
      const informer = createInformer({ client, resource, ...scope, transform: stripManagedFields, log, clock });
      informers.set(key, informer as unknown as Informer<KubeObject>);
      if (started) start(informer as unknown as Informer<KubeObject>, started);
      return informer;
    },
    async run(signal) {
      started = signal;
      for (const informer of informers.values()) start(informer, signal);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
      await Promise.allSettled(running);
    },
    async synced(signal) {
      await Promise.all([...informers.values()].map((informer) => informer.synced(signal)));
    },
  };
}
