/**
 * The store's port: keys and JSON texts under one global revision, as etcd has it. It knows nothing of kinds, selectors
 * or metadata; those are the API server's. Everything is asynchronous, so that an implementation may live in a worker
 * or on another machine.
 */
export interface Store {
  /** The newest revision: that of the last write. At least 1, strictly increasing, never used twice. */
  revision(): number;
  get(key: StoreKey): Promise<StoreRecord | undefined>;
  /** Throws `CompactedError` or `FutureRevisionError` when `revision` is not at hand. */
  list(options: ListOptions): Promise<ListResult>;
  /** Stores `value` when the key's record has `expectedRevision` (0: when there is none). */
  put(key: StoreKey, value: string, expectedRevision: number): Promise<WriteResult>;
  /** Removes the key when its record has `expectedRevision`. The result is the record as it was, with the removal's revision. */
  delete(key: StoreKey, expectedRevision: number): Promise<WriteResult>;
  /**
   * Delivers every event after `fromRevision`, in order, each once; first those of the past. Throws `CompactedError`
   * or `FutureRevisionError` when that cannot be.
   */
  watch(options: WatchOptions, listener: WatchListener): Promise<WatchHandle>;
  /** Forgets what was superseded at or before `revision`. Watches and lists from before it fail from then on. */
  compact(revision: number): Promise<void>;
  /** Finishes the writes under way. Calls after it fail. */
  close(): Promise<void>;
}

export interface StoreKey {
  /** A kind's collection: `pods`, `apps/deployments`. */
  readonly resource: string;
  /** '' for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
}

/** Immutable and shared between readers; the same object is handed out until the key changes. */
export interface StoreRecord {
  readonly key: StoreKey;
  readonly value: string;
  /** Of the write that made it so. */
  readonly revision: number;
}

export interface ListOptions {
  readonly resource: string;
  /** Undefined: of all namespaces. */
  readonly namespace?: string;
  /** Exactly as it was then; undefined: now. */
  readonly revision?: number;
  /** Records after this place in (namespace, name) byte order. */
  readonly after?: { readonly namespace: string; readonly name: string };
  /** At most so many; undefined: all. */
  readonly limit?: number;
}

export interface ListResult {
  /** In (namespace, name) byte order. */
  readonly records: readonly StoreRecord[];
  /** The revision of the whole picture; at least that of each record. */
  readonly revision: number;
  /** How many would follow without the limit. */
  readonly remaining: number;
}

export type WriteResult =
  | { readonly ok: true; readonly record: StoreRecord }
  /** The expectation did not hold; `current` is what is there. */
  | { readonly ok: false; readonly current: StoreRecord | undefined };

export interface WatchOptions {
  readonly resource: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly fromRevision: number;
}

export interface StoreEvent {
  readonly type: 'put' | 'delete';
  readonly revision: number;
  /** For a delete: the last state, with the removal's revision. */
  readonly record: StoreRecord;
  /** What the key held before; undefined for a creation. */
  readonly previous: StoreRecord | undefined;
}

export interface WatchListener {
  /** Must not throw and must not block: the store doesn't wait for slow readers. */
  events(events: readonly StoreEvent[]): void;
  /** Nothing more will come: the store was closed, or the past was compacted while it was being read. */
  ended(error: Error | undefined): void;
}

export interface WatchHandle {
  stop(): void;
  /** Every event up to this revision has been delivered. */
  deliveredRevision(): number;
}

/** The asked revision is older than the kept history. */
export class CompactedError extends Error {
  readonly compactedRevision: number;

  constructor(revision: number, compactedRevision: number) {
    super(`revision ${revision} is not kept any more (history starts after ${compactedRevision})`);
    this.name = 'CompactedError';
    this.compactedRevision = compactedRevision;
  }
}

/** The asked revision has not happened yet. */
export class FutureRevisionError extends Error {
  readonly wanted: number;
  readonly current: number;

  constructor(wanted: number, current: number) {
    super(`revision ${wanted} has not happened yet (now at ${current})`);
    this.name = 'FutureRevisionError';
    this.wanted = wanted;
    this.current = current;
  }
}

/** Byte order of (namespace, name); names are ASCII. */
export function compareKeys(
  left: { namespace: string; name: string },
  right: { namespace: string; name: string },
): number {
  if (left.namespace !== right.namespace) return left.namespace < right.namespace ? -1 : 1;
  if (left.name === right.name) return 0;
  return left.name < right.name ? -1 : 1;
}
