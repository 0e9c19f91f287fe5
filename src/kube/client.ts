import { STATUS_CODES } from 'node:http';
import { Agent, type Dispatcher, errors as undiciErrors } from 'undici';
import { type Clock, systemClock } from '../runtime/clock.ts';
import { Counter, type Registry } from '../runtime/metrics.ts';
import { ApiError, statusFromText } from './errors.ts';
import { apiVersionOf, collectionPath, objectPath, type Resource } from './resources.ts';
import type { Draft, KubeObject, ListMeta, Status } from './types.ts';
import { splitLines } from './watch-stream.ts';

export interface ClientConfig {
  /** Base URL: https://host:port, with a path prefix if the server has one. */
  server: string;
  /** CA bundle that must have signed the server's certificate; the system's roots when absent. */
  caPem?: string;
  certPem?: string;
  keyPem?: string;
  token?: string;
  /** Name to verify in the server's certificate instead of the URL's host. */
  tlsServerName?: string;
  userAgent: string;
}

export interface ClientDependencies {
  clock?: Clock;
  /** Where rest_client_requests_total goes; no metric without one. */
  metrics?: Registry;
}

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

export interface RawOptions {
  method?: Dispatcher.HttpMethod;
  query?: Record<string, string | number | boolean | undefined>;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  signal?: AbortSignal;
  /** Given for streams, which then have a connection of their own: the longest silence between chunks, 0 = any. 60 000 unless said. */
  bodyTimeoutMs?: number;
}

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

const REQUEST_TIMEOUT_MS = 60_000;
const MAX_REQUEST_CONNECTIONS = 16;
/** Servers send a bookmark every minute: a watch that is silent for longer than this hangs on a dead connection. */
const WATCH_SILENCE_MS = 180_000;
/** 429 with Retry-After is repeated by the client itself, as client-go does. */
const MAX_RETRIES_AFTER = 5;
const LONGEST_RETRY_AFTER_S = 30;

export function createKubeClient(config: ClientConfig, dependencies: ClientDependencies = {}): KubeClient {
  const clock = dependencies.clock ?? systemClock;
  const base = new URL(config.server);
  const prefix = base.pathname.replace(/\/$/, '');
  const common = {
    // HTTP/1.1 on purpose: one connection a watch. undici's HTTP/2 multiplexing ends all streams with one bad one.
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    keepAliveMaxTimeout: 600_000,
    headersTimeout: REQUEST_TIMEOUT_MS,
    bodyTimeout: REQUEST_TIMEOUT_MS,
    connect: {
      timeout: 10_000,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      ...(config.caPem && { ca: config.caPem }),
      ...(config.certPem && { cert: config.certPem }),
      ...(config.keyPem && { key: config.keyPem }),
      ...(config.tlsServerName && { servername: config.tlsServerName }),
    },
  };
  // Requests queue for a few connections (a burst of 500 pods must not open 500); streams hold theirs and never wait.
  const requests = new Agent({ ...common, connections: MAX_REQUEST_CONNECTIONS });
  const streams = new Agent(common);
  const count = requestCounter(base.host, dependencies.metrics);
  const commonHeaders = {
    accept: 'application/json',
    'user-agent': config.userAgent,
    ...(config.token && { authorization: `Bearer ${config.token}` }),
  };

  async function send(path: string, options: RawOptions): Promise<Dispatcher.ResponseData> {
    const method = options.method ?? 'GET';
    for (let failedBefore = false; ; failedBefore = true) {
      try {
        const agent = options.bodyTimeoutMs === undefined ? requests : streams;
        const response = await agent.request({
          origin: base.origin,
          path: prefix + path,
          method,
          query: definedOnly(options.query),
          headers: { ...commonHeaders, ...options.headers },
          body: options.body ?? null,
          signal: options.signal ?? null,
          ...(options.bodyTimeoutMs !== undefined && { bodyTimeout: options.bodyTimeoutMs }),
        });
        count(response.statusCode, method);
        return response;
      } catch (error) {
        count('<error>', method);
        // A kept connection that the server closed in the same moment: reading again is harmless, writing is not.
        if (failedBefore || method !== 'GET' || !isBrokenConnection(error)) throw error;
      }
    }
  }

  async function call(path: string, options: RawOptions): Promise<unknown> {
    const what = `${options.method ?? 'GET'} ${path}`;
    for (let attempt = 0; ; attempt++) {
      const response = await send(path, options);
      const text = await response.body.text();
      if (response.statusCode < 300) return parseBody(text, what);
      const retryAfterSeconds = Number(response.headers['retry-after']);
      if (response.statusCode !== 429 || !(retryAfterSeconds >= 0) || attempt >= MAX_RETRIES_AFTER)
        throw new ApiError(parseStatus(response.statusCode, text, what));
      await clock.sleep(Math.min(retryAfterSeconds, LONGEST_RETRY_AFTER_S) * 1000, options.signal);
    }
  }

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
    close: async () => {
      await Promise.all([requests.destroy(), streams.destroy()]);
    },
  };
}

/** Gives an object the apiVersion and kind that lists omit. */
function identify<T extends KubeObject>(value: unknown, resource: Resource<T>): T {
  const object = value as T;
  object.apiVersion ??= apiVersionOf(resource);
  object.kind ??= resource.kind;
  return object;
}

function requestCounter(host: string, registry: Registry | undefined) {
  if (!registry) return () => {};
  const name = 'rest_client_requests_total';
  const counter =
    (registry.getSingleMetric(name) as Counter<'code' | 'host' | 'method'> | undefined) ??
    new Counter({
      name,
      help: 'Number of HTTP requests, partitioned by status code, method, and host.',
      labelNames: ['code', 'host', 'method'] as const,
      registers: [registry],
    });
  return (code: number | string, method: string) => counter.inc({ code: String(code), host, method });
}

function definedOnly(query: RawOptions['query']): Record<string, string> {
  const entries = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== '');
  return Object.fromEntries(entries.map(([key, value]) => [key, String(value)]));
}

function parseBody(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`${what}: the server's answer is not JSON: ${text.slice(0, 100)}`, { cause });
  }
}

function parseStatus(code: number, text: string, what: string): Status {
  try {
    const status = JSON.parse(text) as Status;
    if (status?.kind === 'Status') return { ...status, code: status.code ?? code };
  } catch {
    // Not JSON: something between us and the API server answered.
  }
  return statusFromText(code, text || (STATUS_CODES[code] ?? ''), what);
}

function isBrokenConnection(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  return error instanceof undiciErrors.SocketError || code === 'ECONNRESET' || code === 'EPIPE';
}
