import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { Collection } from './collection.ts';
import { History } from './history.ts';
import { SqliteLog } from './sqlite-log.ts';
import {
  CompactedError,
  FutureRevisionError,
  type ListOptions,
  type ListResult,
  type Store,
  type StoreEvent,
  type StoreKey,
  type StoreRecord,
  type WatchHandle,
  type WatchListener,
  type WatchOptions,
  type WriteResult,
} from './store.ts';
import { Watchers } from './watchers.ts';

export interface SqliteStoreOptions {
  /** A file, or `:memory:`. */
  readonly path: string;
  /**
   * `normal` (default): a write survives a kill of the process at once, a power cut after the next checkpoint; revisions
   * are never used twice either way. `full`: a sync to disk per transaction.
   */
  readonly synchronous?: 'normal' | 'full';
  /** History younger than this is kept; 5 minutes unless said (etcd's compaction interval). */
  readonly historyMs?: number;
  /** … but at most so many events; 100 000 unless said. */
  readonly historyEvents?: number;
  /** Events also kept in memory for watches; 4096 unless said. */
  readonly recentEvents?: number;
}

interface PendingWrite {
  readonly key: StoreKey;
  /** Null: a removal. */
  readonly value: string | null;
  readonly expectedRevision: number;
  readonly resolve: (result: WriteResult) => void;
  readonly reject: (error: unknown) => void;
}

/** Revisions are promised to the disk in blocks, so that a power cut which loses the last writes can't make them repeat. */
const RESERVED_REVISIONS = 10_000;
/** Events read from disk at once for a watch of the past, and revisions compacted at once: a few milliseconds each. */
const SLICE = 1_000;
const COMPACTION_CHECKS = 5;

/**
 * Opens the SQLite store.
 *
 * Scaling law: all current records are in memory as texts (bytes: Σ of the objects, plus `recentEvents`), so gets and
 * lists don't touch the disk; a write is one row and O(log n) of its resource; writes that arrive in one turn of the
 * event loop share a transaction; an event costs O(watchers of its resource). Reading a past revision costs O(rows of
 * the resource with history). Opening costs O(rows).
 */
export async function openSqliteStore(
  options: SqliteStoreOptions,
  deps: { clock: Clock; log: Logger },
): Promise<Store> {
  const log = new SqliteLog(options.path, options.synchronous ?? 'normal');
  return new SqliteStore(log, options, deps);
}

class SqliteStore implements Store {
  readonly #log: SqliteLog;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #collections = new Map<string, Collection>();
  readonly #history: History;
  readonly #historyEvents: number;
  readonly #watchers: Watchers;
  #revision: number;
  /** The revision at opening; what changed before is known to the disk only. */
  readonly #opened: number;
  #reserved: number;
  /** Lists and watches from before this revision are refused. */
  #compacted: number;
  /** Revisions in (from, to) were lost by a power cut: who has seen them must list again. */
  readonly #lost: { readonly from: number; readonly to: number } | undefined;
  #pending: PendingWrite[] = [];
  #flushPlanned = false;
  #closed = false;
  /** Revisions by age, oldest first, for compaction. */
  readonly #marks: { readonly atMs: number; readonly revision: number }[] = [];
  #cancelTimer: () => void = () => {};

  constructor(log: SqliteLog, options: SqliteStoreOptions, deps: { clock: Clock; log: Logger }) {
    this.#log = log;
    this.#clock = deps.clock;
    this.#logger = deps.log;
    this.#compacted = log.counter('compacted') ?? 0;
    const last = Math.max(1, log.lastRevision(), this.#compacted, log.counter('last') ?? 0);
    const reserved = log.counter('reserved') ?? 0;
    const clean = log.counter('clean') === 1;
    // After an unclean end some writes may be gone; going on behind the reservation keeps revisions unique.
    this.#revision = clean || reserved <= last ? last : reserved;
    this.#lost = this.#revision > last ? { from: last, to: this.#revision } : undefined;
    this.#opened = this.#revision;
    this.#reserved = this.#revision;
    this.#reserve();
    for (const record of log.current()) this.#collection(record.key.resource).put(record);
    for (const collection of this.#collections.values()) collection.lastRevision = this.#opened;
    this.#history = new History(options.recentEvents ?? 4_096, this.#revision);
    this.#historyEvents = options.historyEvents ?? 100_000;
    this.#watchers = new Watchers(this.#revision);
    this.#planCompaction((options.historyMs ?? 300_000) / COMPACTION_CHECKS);
  }

  revision(): number {
    return this.#revision;
  }

  async get(key: StoreKey): Promise<StoreRecord | undefined> {
    this.#assertOpen();
    return this.#collections.get(key.resource)?.get(key);
  }

  async list(options: ListOptions): Promise<ListResult> {
    this.#assertOpen();
    const revision = options.revision ?? this.#revision;
    this.#assertAvailable(revision);
    const collection = this.#collections.get(options.resource);
    if ((collection?.lastRevision ?? this.#opened) <= revision) {
      const current = collection?.list(options) ?? { records: [], remaining: 0 };
      return { ...current, revision };
    }
    const past = new Collection();
    for (const record of this.#log.listAt(options.resource, options.namespace, revision)) past.put(record);
    return { ...past.list(options), revision };
  }

  put(key: StoreKey, value: string, expectedRevision: number): Promise<WriteResult> {
    return this.#write(key, value, expectedRevision);
  }

  delete(key: StoreKey, expectedRevision: number): Promise<WriteResult> {
    return this.#write(key, null, expectedRevision);
  }

  async watch(options: WatchOptions, listener: WatchListener): Promise<WatchHandle> {
    this.#assertOpen();
    this.#assertAvailable(options.fromRevision);
    const { watcher, handle } = this.#watchers.add(options, listener);
    if (this.#history.covers(options.fromRevision)) this.#catchUp(watcher);
    else void this.#replay(watcher);
    return handle;
  }

  async compact(revision: number): Promise<void> {
    this.#assertOpen();
    if (revision > this.#revision) throw new FutureRevisionError(revision, this.#revision);
    let from = this.#compacted;
    if (revision <= from) return;
    // Refused from now on, whatever of the rows is still there.
    this.#compacted = revision;
    while (from < revision && !this.#closed) {
      const to = Math.min(revision, from + SLICE);
      this.#log.transaction(() => {
        this.#log.compact(from, to);
        this.#log.setCounter('compacted', to);
      });
      from = to;
      await nextTurn();
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#flush();
    this.#closed = true;
    this.#cancelTimer();
    this.#watchers.endAll(undefined);
    this.#log.transaction(() => {
      this.#log.setCounter('last', this.#revision);
      this.#log.setCounter('clean', 1);
    });
    this.#log.checkpoint();
    this.#log.close();
  }

  #write(key: StoreKey, value: string | null, expectedRevision: number): Promise<WriteResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(closedError());
      this.#pending.push({ key, value, expectedRevision, resolve, reject });
      if (this.#flushPlanned) return;
      this.#flushPlanned = true;
      // Every write of this turn of the event loop (all requests that have just been read) shares the transaction.
      setImmediate(() => this.#flush());
    });
  }

  #flush(): void {
    this.#flushPlanned = false;
    const writes = this.#pending;
    if (writes.length === 0 || this.#closed) return;
    this.#pending = [];
    const events: StoreEvent[] = [];
    const results: WriteResult[] = [];
    try {
      this.#log.transaction(() => this.#apply(writes, events, results));
    } catch (error) {
      // Nothing of the batch is stored and nobody has seen its revisions.
      this.#logger.error({ err: error, writes: writes.length }, 'store: a transaction failed');
      for (const write of writes) write.reject(error);
      return;
    }
    for (const event of events) this.#remember(event);
    for (const [index, write] of writes.entries()) write.resolve(results[index]!);
    if (events.length === 0) return;
    this.#watchers.publish(events);
    if (this.#revision >= this.#reserved) this.#reserve();
  }

  /** Judges and appends each write; a later one of the same batch sees what an earlier one did. */
  #apply(writes: readonly PendingWrite[], events: StoreEvent[], results: WriteResult[]): void {
    const staged = new Map<string, StoreRecord | undefined>();
    let revision = this.#revision;
    for (const { key, value, expectedRevision } of writes) {
      const place = `${key.resource}/${key.namespace}/${key.name}`;
      const current = staged.has(place) ? staged.get(place) : this.#collections.get(key.resource)?.get(key);
      if ((current?.revision ?? 0) !== expectedRevision || (value === null && !current)) {
        results.push({ ok: false, current });
        continue;
      }
      revision++;
      this.#log.append({ key, revision, previousRevision: current?.revision ?? 0, value });
      const record = { key, value: value ?? current!.value, revision };
      staged.set(place, value === null ? undefined : record);
      events.push({ type: value === null ? 'delete' : 'put', revision, record, previous: current });
      results.push({ ok: true, record });
    }
  }

  #remember(event: StoreEvent): void {
    const collection = this.#collection(event.record.key.resource);
    if (event.type === 'put') collection.put(event.record);
    else collection.delete(event.record.key, event.revision);
    this.#revision = event.revision;
    this.#history.append(event);
  }

  #collection(resource: string): Collection {
    let collection = this.#collections.get(resource);
    if (!collection) {
      collection = new Collection();
      this.#collections.set(resource, collection);
    }
    return collection;
  }

  #catchUp(watcher: Parameters<Watchers['deliver']>[0]): void {
    this.#watchers.goLive(watcher);
    this.#watchers.deliver(watcher, this.#history.after(watcher.delivered), this.#revision);
  }

  /** Reads the past in slices until what is left is in memory; other work runs in between. */
  async #replay(watcher: Parameters<Watchers['deliver']>[0]): Promise<void> {
    try {
      while (this.#watchers.isActive(watcher)) {
        if (this.#history.covers(watcher.delivered)) return this.#catchUp(watcher);
        this.#assertAvailable(watcher.delivered);
        const events = this.#log.events(watcher.delivered, this.#revision, SLICE);
        this.#watchers.deliver(watcher, events, events.length < SLICE ? this.#revision : events.at(-1)!.revision);
        await nextTurn();
      }
    } catch (error) {
      this.#watchers.end(watcher, error as Error);
    }
  }

  #assertAvailable(revision: number): void {
    if (revision > this.#revision) throw new FutureRevisionError(revision, this.#revision);
    if (revision < this.#compacted) throw new CompactedError(revision, this.#compacted);
    if (this.#lost && revision > this.#lost.from && revision < this.#lost.to)
      throw new CompactedError(revision, this.#lost.to);
  }

  /** Promises the next block of revisions to the disk, synced, before any of it is used. */
  #reserve(): void {
    this.#reserved += RESERVED_REVISIONS;
    this.#log.transaction(() => {
      this.#log.setCounter('clean', 0);
      this.#log.setCounter('reserved', this.#reserved + RESERVED_REVISIONS);
    });
    this.#log.checkpoint();
  }

  #planCompaction(intervalMs: number): void {
    this.#cancelTimer = this.#clock.after(intervalMs, () => {
      this.#marks.push({ atMs: this.#clock.monotonicMs(), revision: this.#revision });
      const oldestMs = this.#clock.monotonicMs() - intervalMs * COMPACTION_CHECKS;
      let target = this.#revision - this.#historyEvents;
      while (this.#marks.length > 0 && this.#marks[0]!.atMs <= oldestMs)
        target = Math.max(target, this.#marks.shift()!.revision);
      this.compact(target)
        .catch((error) => this.#logger.error({ err: error }, 'store: compaction failed'))
        .finally(() => {
          if (!this.#closed) this.#planCompaction(intervalMs);
        });
    });
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError();
  }
}

const closedError = () => new Error('the store is closed');
