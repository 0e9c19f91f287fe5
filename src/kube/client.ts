import type { Dispatcher } from 'undici';
import { ApiError } from './errors.ts';
import { apiVersionOf, collectionPath, objectPath, type Resource } from './resources.ts';
import {
  type ClientConfig,
  type ClientDependencies,
  createTransport,
  parseStatus,
  type RawOptions,
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
  /** Closes connections, breaking what is under way. */
  close(): Promise<void>;
}

const PATCH_CONTENT_TYPES: Record<PatchType, string> = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
};

/** Servers send a bookmark every minute: a watch that is silent for longer than this hangs on a dead connection. */
const WATCH_SILENCE_MS = 180_000;

export function createKubeClient(config: ClientConfig, dependencies: ClientDependencies = {}): KubeClient {
  const { send, call, close } = createTransport(config, dependencies);

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
        throw new ApiError(parseStatus(response.statusCode, await response.body.text(), `GET ${path}?watch`));
      for await (const line of splitLines(response.body)) {
        const event = JSON.parse(line) as WatchEvent<T> | { type: 'ERROR'; object: Status };
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
    close,
  };
}

/** Gives an object the apiVersion and kind that lists omit. */
function identify<T extends KubeObject>(value: unknown, resource: Resource<T>): T {
  const object = value as T;
  object.apiVersion ??= apiVersionOf(resource);
  object.kind ??= resource.kind;
  return object;
}
