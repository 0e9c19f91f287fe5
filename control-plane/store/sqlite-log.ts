import { chmodSync, closeSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { StoreEvent, StoreKey, StoreRecord } from './store.ts';

const SCHEMA_VERSION = 1;

/**
 * One row per write; the newest row of a key is its state, older ones are history. A removal is a row without value.
 * `previous` is the revision of the key's row before (0: none), so that an event finds its old state, and compaction
 * the rows that a write superseded, by primary key.
 */
const SCHEMA = `
  CREATE TABLE revision (
    revision  INTEGER PRIMARY KEY,
    resource  TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    previous  INTEGER NOT NULL,
    value     TEXT
  ) STRICT;
  CREATE INDEX revision_by_key ON revision (resource, namespace, name, revision);
  CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

interface Row {
  revision: number;
  resource: string;
  namespace: string;
  name: string;
  previous: number;
  value: string | null;
  oldValue?: string | null;
}

export interface LogWrite {
  readonly key: StoreKey;
  readonly revision: number;
  readonly previousRevision: number;
  /** Null: a removal. */
  readonly value: string | null;
}

/** The SQLite side of the store: the synchronous statements, nothing else. */
export class SqliteLog {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #eventsAfter: StatementSync;
  readonly #setCounter: StatementSync;

  /**
   * Opens or creates the file (0600: it holds Secrets) and locks it for this process. `:memory:` is a database that
   * ends with the process. Throws an Error that names the file and the way out.
   */
  constructor(path: string, synchronous: 'normal' | 'full') {
    try {
      if (path !== ':memory:') {
        closeSync(openSync(path, 'a', 0o600));
        chmodSync(path, 0o600);
      }
      this.#database = new DatabaseSync(path);
      this.#database.exec(`
        PRAGMA locking_mode = EXCLUSIVE;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = ${synchronous === 'full' ? 'FULL' : 'NORMAL'};
      `);
      this.#createSchema(path);
    } catch (error) {
      throw explain(path, error);
    }
    this.#insert = this.#database.prepare(
      'INSERT INTO revision (revision, resource, namespace, name, previous, value) VALUES (?, ?, ?, ?, ?, ?)',
    );
    this.#eventsAfter = this.#database.prepare(`
      SELECT e.revision, e.resource, e.namespace, e.name, e.previous, e.value, p.value AS oldValue
        FROM revision e LEFT JOIN revision p ON p.revision = e.previous
       WHERE e.revision > ? AND e.revision <= ? ORDER BY e.revision LIMIT ?`);
    this.#setCounter = this.#database.prepare(
      'INSERT INTO counter (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
    );
  }

  #createSchema(path: string): void {
    const { user_version: version } = this.#database.prepare('PRAGMA user_version').get() as { user_version: number };
    if (version > SCHEMA_VERSION)
      throw new Error(`${path} was written by a newer Berth (schema ${version}); this one knows ${SCHEMA_VERSION}`);
    // The write lock is taken at once, so that a second process fails here and not at its first write.
    this.#database.exec('BEGIN IMMEDIATE');
    if (version === 0) this.#database.exec(SCHEMA);
    this.#database.exec('COMMIT');
  }

  /** Runs `body` in one transaction: all of it is stored, or, when it throws, nothing. */
  transaction(body: () => void): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      body();
      this.#database.exec('COMMIT');
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  append(write: LogWrite): void {
    const { key } = write;
    this.#insert.run(write.revision, key.resource, key.namespace, key.name, write.previousRevision, write.value);
  }

  /** Undefined when it was never set. */
  counter(name: string): number | undefined {
    const row = this.#database.prepare('SELECT value FROM counter WHERE name = ?').get(name);
    return row?.value as number | undefined;
  }

  setCounter(name: string, value: number): void {
    this.#setCounter.run(name, value);
  }

  /** 0 when there is no row. */
  lastRevision(): number {
    return (this.#database.prepare('SELECT MAX(revision) AS last FROM revision').get()?.last as number | null) ?? 0;
  }

  /** The newest record of every key that is not removed. */
  *current(): Generator<StoreRecord> {
    const rows = this.#database
      .prepare(`
        SELECT revision, resource, namespace, name, previous, value FROM revision r
         WHERE value IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM revision n
            WHERE n.resource = r.resource AND n.namespace = r.namespace AND n.name = r.name AND n.revision > r.revision)
         ORDER BY resource, namespace, name`)
      .iterate();
    for (const row of rows) yield recordOf(row as unknown as Row);
  }

  /** Every record of a resource as it was at `revision`, in (namespace, name) order. */
  listAt(resource: string, namespace: string | undefined, revision: number): StoreRecord[] {
    const rows = this.#database
      .prepare(`
        SELECT revision, resource, namespace, name, previous, value FROM revision r
         WHERE resource = ?1 AND (?2 IS NULL OR namespace = ?2) AND revision <= ?3 AND value IS NOT NULL
           AND NOT EXISTS (
             SELECT 1 FROM revision n
              WHERE n.resource = r.resource AND n.namespace = r.namespace AND n.name = r.name
                AND n.revision > r.revision AND n.revision <= ?3)
         ORDER BY namespace, name`)
      .all(resource, namespace ?? null, revision);
    return rows.map((row) => recordOf(row as unknown as Row));
  }

  /** Events in (after, upTo], at most `limit`, oldest first. */
  events(after: number, upTo: number, limit: number): StoreEvent[] {
    return this.#eventsAfter.all(after, upTo, limit).map((row) => eventOf(row as unknown as Row));
  }

  /** Deletes rows that writes in (from, to] superseded, and the removals among these. */
  compact(from: number, to: number): void {
    this.#database
      .prepare(`
        DELETE FROM revision WHERE revision IN (
          SELECT previous FROM revision WHERE revision > ?1 AND revision <= ?2 AND previous > 0)`)
      .run(from, to);
    this.#database.prepare('DELETE FROM revision WHERE revision > ? AND revision <= ? AND value IS NULL').run(from, to);
  }

  /** Moves the write-ahead log into the file, synced: what was committed survives a power cut from here on. */
  checkpoint(): void {
    this.#database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  }

  close(): void {
    this.#database.close();
  }
}

function recordOf(row: Row): StoreRecord {
  const { resource, namespace, name } = row;
  return { key: { resource, namespace, name }, value: row.value ?? '', revision: row.revision };
}

function eventOf(row: Row): StoreEvent {
  const { resource, namespace, name, revision } = row;
  const key = { resource, namespace, name };
  const previous = row.previous > 0 ? { key, value: row.oldValue ?? '', revision: row.previous } : undefined;
  const removed = row.value === null;
  return {
    type: removed ? 'delete' : 'put',
    revision,
    record: { key, value: removed ? (previous?.value ?? '') : row.value!, revision },
    previous,
  };
}

function explain(path: string, error: unknown): Error {
  const message = error instanceof Error ? error.message : String(error);
  const wayOut = /locked|busy/i.test(message)
    ? 'another process has it open; stop that one first'
    : 'check that the directory exists and is writable and that the file is a database of Berth';
  return new Error(`cannot open the store ${path}: ${message} (${wayOut})`, { cause: error });
}
