import type { ServerResponse } from 'node:http';
import {
  CompactedError,
  FutureRevisionError,
  type StoreEvent,
  type StoreRecord,
  type WatchHandle,
} from '../../store/store.ts';
import { eventLine } from '../codec.ts';
import type { Exchange, HttpResponse } from '../exchange.ts';
import type { OutputFormat } from '../media-type.ts';
import { apiVersionOf } from '../registry.ts';
import { isTrue, type RequestInfo } from '../request-info.ts';
import { badRequest, expired, resourceVersionTooLarge } from '../status-error.ts';
import type { Api, Served } from './api.ts';
import { watchVersion } from './list-options.ts';
import { PacedWriter } from './paced-writer.ts';
import { parseSelection, type Selection } from './selection.ts';
import { includeObject, metadataText, rowText, tableText } from './table.ts';

type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** A client that lets so many events wait for so long, or ever so many, is cut off and lists anew. */
const BACKLOG_LIMIT = 4_096;
const BACKLOG_LIMIT_MS = 5_000;
const BACKLOG_MAX = 65_536;
const BOOKMARK_INTERVAL_MS = 60_000;
/** The last bookmark goes out this long before the watch ends by itself. */
const BOOKMARK_BEFORE_END_MS = 2_000;
/** Watches without timeoutSeconds end after 30 to 60 minutes, so that clients spread out again. */
const DEFAULT_TIMEOUT_MS = 1_800_000;

/**
 * Streams the changes of a collection until the time is up, the client leaves or the server stops.
 *
 *     [ADDED of everything, bookmark]  events after the start  bookmarks …
 */
export async function handleWatch(
  api: Api,
  served: Served,
  info: RequestInfo,
  exchange: Exchange,
  format: OutputFormat,
  stopping: AbortSignal,
): Promise<void> {
  const selection = narrowed(parseSelection(served.definition, info.namespace, exchange.query), info);
  const { resourceVersion, initialEvents } = watchVersion(exchange.query);
  const timeoutMs = watchTimeoutMs(exchange.query, api.random);
  const stream = new WatchStream(api, served, exchange, format, selection);
  const current = api.store.revision();
  if (resourceVersion !== undefined && resourceVersion > current)
    throw resourceVersionTooLarge(resourceVersion, current);
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const end = () => resolve();
  stream.onEnd = end;
  exchange.signal.addEventListener('abort', end, { once: true });
  stopping.addEventListener('abort', end, { once: true });
  if (exchange.signal.aborted || stopping.aborted) end();
  // Without a version, or with any ("0"), a watch begins with the present state.
  const withState = initialEvents ?? !resourceVersion;
  const timers: (() => void)[] = [];
  try {
    await stream.start(withState, resourceVersion, initialEvents === true);
    timers.push(api.clock.after(timeoutMs, () => stream.end()));
    if (isTrue(exchange.query.get('allowWatchBookmarks'))) timers.push(planBookmarks(api, stream, timeoutMs));
    await ended;
  } finally {
    for (const cancel of timers) cancel();
    // The server outlives its watches: nothing of them may stay with it.
    stopping.removeEventListener('abort', end);
    stream.end();
  }
}

/** A legacy /watch/…/NAME path, or one object's path with ?watch=1, is a watch of that name. */
const narrowed = (selection: Selection, info: RequestInfo): Selection =>
  info.name ? { ...selection, name: info.name } : selection;

function watchTimeoutMs(query: URLSearchParams, random: () => number): number {
  const text = query.get('timeoutSeconds');
  if (text && !/^\d+$/.test(text))
    throw badRequest(`timeoutSeconds: Invalid value: ${JSON.stringify(text)}: must be an integer ≥ 0`);
  const seconds = Number(text ?? '0');
  return seconds > 0 ? seconds * 1000 : DEFAULT_TIMEOUT_MS * (1 + random());
}

function planBookmarks(api: Api, stream: WatchStream, timeoutMs: number): () => void {
  const endMs = api.clock.monotonicMs() + timeoutMs;
  let cancel = () => {};
  const plan = () => {
    const leftMs = endMs - BOOKMARK_BEFORE_END_MS - api.clock.monotonicMs();
    if (leftMs <= 0) return;
    cancel = api.clock.after(Math.min(BOOKMARK_INTERVAL_MS, leftMs), () => {
      stream.bookmark();
      plan();
    });
  };
  plan();
  return () => cancel();
}

/** What goes out: an object of the state at the start, a change after it, or a finished line. */
type Outgoing = StoreRecord | StoreEvent | string;

class WatchStream {
  onEnd: () => void = () => {};
  readonly #api: Api;
  readonly #served: Served;
  readonly #exchange: Exchange;
  readonly #format: OutputFormat;
  readonly #selection: Selection;
  readonly #include: ReturnType<typeof includeObject>;
  readonly #writer: PacedWriter<Outgoing>;
  #handle: WatchHandle | undefined;
  #stateSize = 0;
  #behindSinceMs: number | undefined;
  #columnsSent = false;
  #ended = false;

  constructor(api: Api, served: Served, exchange: Exchange, format: OutputFormat, selection: Selection) {
    this.#api = api;
    this.#served = served;
    this.#exchange = exchange;
    this.#format = format;
    this.#selection = selection;
    this.#include = includeObject(exchange.query);
    this.#writer = new PacedWriter(exchange.response, (item) => this.#render(item));
  }

  /** Throws, before anything is sent, when the start is not in the kept history. */
  async start(withState: boolean, resourceVersion: number | undefined, announceEnd: boolean): Promise<void> {
    const { store } = this.#api;
    const { resource } = this.#served;
    const { namespace, name } = this.#selection;
    let fromRevision = resourceVersion || store.revision();
    let state: readonly StoreRecord[] = [];
    if (withState) ({ revision: fromRevision, records: state } = await store.list({ resource, namespace }));
    // Events that come before the state is on its way wait here.
    let early: StoreEvent[] | undefined = [];
    try {
      this.#handle = await store.watch(
        { resource, namespace, name, fromRevision },
        {
          events: (events) => {
            if (early) early.push(...events);
            else this.#deliver(events);
          },
          ended: (error) => this.#fail(error),
        },
      );
    } catch (error) {
      if (error instanceof CompactedError)
        throw expired(`too old resource version: ${fromRevision} (${error.compactedRevision})`);
      if (error instanceof FutureRevisionError) throw resourceVersionTooLarge(error.wanted, error.current);
      throw error;
    }
    this.#exchange.writeHead(200, { 'content-type': 'application/json' });
    flushHead(this.#exchange.response);
    this.#stateSize = state.length;
    this.#writer.push(state);
    if (announceEnd) this.#pushBookmark(fromRevision, { 'k8s.io/initial-events-end': 'true' });
    const held = early;
    early = undefined;
    this.#deliver(held);
  }

  bookmark(): void {
    // Behind everything that waits: it promises that all before it was sent.
    if (this.#handle) this.#pushBookmark(this.#handle.deliveredRevision());
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#handle?.stop();
    this.#writer.close();
    if (this.#exchange.started) this.#exchange.response.end();
    this.onEnd();
  }

  #fail(error: Error | undefined): void {
    if (error instanceof CompactedError && this.#exchange.started)
      (this.#exchange.response as ServerResponse).write(
        `{"type":"ERROR","object":${JSON.stringify(expired(error.message).status)}}\n`,
      );
    this.end();
  }

  #deliver(events: readonly StoreEvent[]): void {
    if (this.#ended) return;
    this.#writer.push(events);
    if (!this.#isTooSlow()) return;
    this.#api.log.warn({ resource: this.#served.resource }, 'watch: the client reads too slowly and was cut off');
    this.#ended = true;
    this.#handle?.stop();
    this.#writer.close();
    this.#exchange.response.destroy();
    this.onEnd();
  }

  #isTooSlow(): boolean {
    const waiting = this.#writer.backlog - this.#stateSize;
    const nowMs = this.#api.clock.monotonicMs();
    if (waiting <= BACKLOG_LIMIT) this.#behindSinceMs = undefined;
    else this.#behindSinceMs ??= nowMs;
    return waiting > BACKLOG_MAX || nowMs - (this.#behindSinceMs ?? nowMs) > BACKLOG_LIMIT_MS;
  }

  #render(item: Outgoing): string | Buffer | undefined {
    if (typeof item === 'string') return item;
    if ('type' in item) return this.#eventLine(item);
    return this.#selects(item) ? this.#line('ADDED', item, item.revision) : undefined;
  }

  /** A change may bring an object into the selection or take it out: the client sees that as ADDED and DELETED. */
  #eventLine({ type, record, previous, revision }: StoreEvent): string | Buffer | undefined {
    const was = previous !== undefined && this.#selects(previous);
    const is = type === 'put' && this.#selects(record);
    if (is) return this.#line(was ? 'MODIFIED' : 'ADDED', record, revision);
    if (!was) return undefined;
    // Of an object that leaves, the client gets the state it knew, at the revision of the change.
    return this.#line('DELETED', type === 'delete' ? record : previous, revision);
  }

  #selects(record: StoreRecord): boolean {
    const { matches, name } = this.#selection;
    if (name !== undefined && record.key.name !== name) return false;
    return !matches || matches(this.#served.codec.object(record));
  }

  #line(type: EventType, record: StoreRecord, revision: number): string | Buffer {
    const { shape, metaVersion } = this.#format;
    if (shape === 'object') return eventLine(this.#served.codec, type, record, revision);
    const at = record.revision === revision ? record : { ...record, revision };
    if (shape !== 'table') {
      const text = metadataText(this.#served.codec.object(at), `meta.k8s.io/${metaVersion}`);
      return `{"type":"${type}","object":${text}}\n`;
    }
    const options = {
      metaVersion,
      include: this.#include,
      nowMs: this.#api.clock.nowMs(),
      withColumns: !this.#columnsSent,
    };
    this.#columnsSent = true;
    const row = rowText(this.#served, at, options);
    const text = tableText(this.#served, [row], { resourceVersion: String(revision) }, options);
    return `{"type":"${type}","object":${text}}\n`;
  }

  #pushBookmark(revision: number, annotations?: Record<string, string>): void {
    const metadata = {
      resourceVersion: String(revision),
      creationTimestamp: null,
      ...(annotations ? { annotations } : {}),
    };
    this.#writer.push([`{"type":"BOOKMARK","object":${this.#bookmarkObject(metadata)}}\n`]);
  }

  #bookmarkObject(metadata: { resourceVersion: string }): string {
    const { definition } = this.#served;
    const metaVersion = `meta.k8s.io/${this.#format.metaVersion}`;
    if (this.#format.shape === 'object')
      return JSON.stringify({ kind: definition.kind, apiVersion: apiVersionOf(definition), metadata });
    const partial = { kind: 'PartialObjectMetadata', apiVersion: metaVersion, metadata };
    if (this.#format.shape !== 'table') return JSON.stringify(partial);
    // A row whose object carries the resourceVersion and the annotation.
    return JSON.stringify({
      kind: 'Table',
      apiVersion: metaVersion,
      metadata: { resourceVersion: metadata.resourceVersion },
      columnDefinitions: null,
      rows: [{ cells: definition.columns.map(() => ''), object: partial }],
    });
  }
}

/** Clients wait for the head before they go on, and the first event may be long in coming. HTTP/2 sends it at once. */
function flushHead(response: HttpResponse): void {
  if (!('stream' in response)) response.flushHeaders();
}
