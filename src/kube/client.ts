import type { Dispatcher } from 'undici';
import { systemClock } from '../runtime/clock.ts';
import { ApiError } from './errors.ts';
import { apiVersionOf, collectionPath, objectPath, type Resource } from './resources.ts';
import {
  type ClientConfig,
  type ClientDependencies,
  createTransport,
  parseStatus,
  type RawOptions,
  retryAfterSeconds,
} from './transport.ts';
import type { Draft, KubeObject, ListMeta, Status } from './types.ts';
import { splitLines } from './watch-stream.ts';

export type { ClientConfig, ClientDependencies, RawOptions };

export interface ObjectTarget {
  namespace?: string;
  name: string;
}

export interface ListOptions {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  resourceVersion?: string;
  limit?: number;
  continue?: string;
  signal?: AbortSignal;
}

export interface WatchOptions {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** Events after this version. */
  resourceVersion: string;
  /** The server ends the stream cleanly after this time. */
  timeoutSeconds?: number;
  signal: AbortSignal;
}

export interface ObjectList<T> {
  items: T[];
  metadata: ListMeta;
}

export type WatchEvent<T> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
  | { type: 'BOOKMARK'; object: { metadata: { resourceVersion: string; annotations?: Record<string, string> } } };

export type PatchType = 'merge' | 'strategic' | 'json';
export type PropagationPolicy = 'Background' | 'Foreground' | 'Orphan';

/**
 * A thin Kubernetes REST client. Every refusal of the server is an ApiError; connection trouble is undici's error.
 * Objects that it returns always carry apiVersion and kind, also out of lists (the server omits them there).
 */
export interface KubeClient {
  get<T extends KubeObject>(
    resource: Resource<T>,
    options: ObjectTarget & { subresource?: string; signal?: AbortSignal },
  ): Promise<T>;
  /** One page; `metadata.continue` names the next. */
  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<ObjectList<T>>;
  /**
   * Yields events, bookmarks too, until the server ends the stream or the signal aborts (both end quietly).
   * A refusal, and an ERROR event, throw ApiError; a broken connection throws what undici threw.
   */
  watch<T extends KubeObject>(resource: Resource<T>, options: WatchOptions): AsyncIterable<WatchEvent<T>>;
  create<T extends KubeObject>(
    resource: Resource<T>,
    draft: Draft<T>,
    options?: { namespace?: string; signal?: AbortSignal },
  ): Promise<T>;
  /** Creates at a subresource (pods/binding, serviceaccounts/token): the body is of the subresource's own kind. */
  create<T extends KubeObject>(
    resource: Resource<T>,
    body: object,
    options: { namespace?: string; name: string; subresource: string; signal?: AbortSignal },
  ): Promise<unknown>;
  /** PUT; metadata names the object and its resourceVersion guards it (409 isConflict when it has changed). */
  replace<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options?: { subresource?: string; signal?: AbortSignal },
  ): Promise<T>;
  patch<T extends KubeObject>(
    resource: Resource<T>,
    options: ObjectTarget & { subresource?: string; type: PatchType; patch: unknown; signal?: AbortSignal },
  ): Promise<T>;
  /** Resolves with the marked object (graceful, finalizers) or with Status Success when it is gone. `uid` is a precondition. */
  delete<T extends KubeObject>(
    resource: Resource<T>,
    options: ObjectTarget & {
      gracePeriodSeconds?: number;
      uid?: string;
      resourceVersion?: string;
      propagationPolicy?: PropagationPolicy;
      signal?: AbortSignal;
    },
  ): Promise<T | Status>;
  /** Any path with this client's connection and credentials; any status code is a result. The caller consumes the body. */
  raw(path: string, options?: RawOptions): Promise<Dispatcher.ResponseData>;
  /**
   * Calls back each time that the server answers again after it was away for a second or more: whoever waits to try again need not.
   * @returns takes that back
   */
  onReturn?(listener: () => void): () => void;
  /** Closes connections, breaking what is under way. */
  close(): Promise<void>;
}

const PATCH_CONTENT_TYPES: Record<PatchType, string> = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
};

/**
 * Servers send a bookmark every minute: a watch that is silent for longer than this hangs. One of a collection in which nothing has happened since
 * the server began has none to send, and is begun anew for nothing.
 */
const WATCH_SILENCE_MS = 90_000;
const EVENT_TYPES = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']);

export function createKubeClient(config: ClientConfig, dependencies: ClientDependencies = {}): KubeClient {
  const { send, call, close, heardStream, onReturn } = createTransport(config, dependencies);

  /** The header says it to those who do not read Status objects; ours do. */
  const withPatience = (status: Status, response: Dispatcher.ResponseData): Status => {
    const seconds = retryAfterSeconds(response, dependencies.clock ?? systemClock);
    if (seconds === undefined || status.details?.retryAfterSeconds !== undefined) return status;
    return { ...status, details: { ...status.details, retryAfterSeconds: Math.ceil(seconds) } };
  };

  const json = (body: unknown, contentType = 'application/json') => ({
    body: JSON.stringify(body),
    headers: { 'content-type': contentType },
  });

  async function* watch<T extends KubeObject>(
    resource: Resource<T>,
    options: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>> {
    const { namespace, signal, ...query } = options;
    const path = collectionPath(resource, namespace);
    try {
      const response = await send(path, {
        query: { ...query, watch: true, allowWatchBookmarks: true },
        signal,
        bodyTimeoutMs: WATCH_SILENCE_MS,
      });
      if (response.statusCode !== 200)
        throw new ApiError(
          withPatience(parseStatus(response.statusCode, await response.body.text(), `GET ${path}?watch`), response),
        );
      for await (const line of splitLines(response.body)) {
        heardStream(response);
        const event = parseEvent<T>(line, path);
        if (event.type === 'ERROR') throw new ApiError(event.object);
        if (event.type !== 'BOOKMARK') identify(event.object, resource);
        yield event;
        if (signal.aborted) return;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  return {
    async get(resource, { signal, ...target }) {
      return identify(await call(objectPath(resource, target), { signal }), resource);
    },
    async list(resource, options = {}) {
      const { namespace, signal, ...query } = options;
      const list = (await call(collectionPath(resource, namespace), { query, signal })) as {
        items?: unknown[] | null;
        metadata?: ListMeta;
      };
      const items = (list.items ?? []).map((item) => identify(item, resource));
      return { items, metadata: list.metadata ?? {} };
    },
    watch,
    async create<T extends KubeObject>(
      resource: Resource<T>,
      draft: object,
      options: { namespace?: string; name?: string; subresource?: string; signal?: AbortSignal } = {},
    ) {
      const { namespace, name, subresource, signal } = options;
      if (name && subresource)
        return call(objectPath(resource, { namespace, name, subresource }), { method: 'POST', ...json(draft), signal });
      const target = namespace ?? (draft as Draft<T>).metadata?.namespace;
      if (resource.namespaced && !target) throw new Error(`${resource.kind}: a namespace is needed to create it`);
      const path = collectionPath(resource, resource.namespaced ? target : undefined);
      const body = { apiVersion: apiVersionOf(resource), kind: resource.kind, ...draft };
      return identify(await call(path, { method: 'POST', ...json(body), signal }), resource);
    },
    async replace(resource, object, { subresource, signal } = {}) {
      const { namespace, name } = object.metadata;
      const path = objectPath(resource, { namespace, name, subresource });
      const body = { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
      return identify(await call(path, { method: 'PUT', ...json(body), signal }), resource);
    },
    async patch(resource, { type, patch, signal, ...target }) {
      const body = json(patch, PATCH_CONTENT_TYPES[type]);
      return identify(await call(objectPath(resource, target), { method: 'PATCH', ...body, signal }), resource);
    },
    async delete(resource, { namespace, name, uid, resourceVersion, signal, ...deleteOptions }) {
      const preconditions = uid || resourceVersion ? { preconditions: { uid, resourceVersion } } : {};
      const body = json({ apiVersion: 'v1', kind: 'DeleteOptions', ...deleteOptions, ...preconditions });
      const path = objectPath(resource, { namespace, name });
      return identify(await call(path, { method: 'DELETE', ...body, signal }), resource);
    },
    raw: send,
    onReturn,
    close,
  };
}

/** One line of a watch. Throws what it is instead: half a JSON text, a page of a proxy, an object without a name or a version. */
function parseEvent<T extends KubeObject>(
  line: string,
  path: string,
): WatchEvent<T> | { type: 'ERROR'; object: Status } {
  const fail = (cause?: unknown): never => {
    throw new Error(`GET ${path}?watch: not an event of a watch: ${line.slice(0, 100)}`, { cause });
  };
  let event: WatchEvent<T> | { type: 'ERROR'; object: Status };
  try {
    event = JSON.parse(line);
  } catch (error) {
    return fail(error);
  }
  if (event?.type === 'ERROR') return typeof event.object === 'object' && event.object !== null ? event : fail();
  const { resourceVersion, name } = (event?.object?.metadata ?? {}) as Partial<T['metadata']>;
  const isWhole = EVENT_TYPES.has(event?.type) && typeof resourceVersion === 'string' && resourceVersion !== '';
  return isWhole && (event.type === 'BOOKMARK' || name) ? event : fail();
}

/** Gives an object the apiVersion and kind that lists omit. */
function identify<T extends KubeObject>(value: unknown, resource: Resource<T>): T {
  const object = value as T;
  object.apiVersion ??= apiVersionOf(resource);
  object.kind ??= resource.kind;
  return object;
}
