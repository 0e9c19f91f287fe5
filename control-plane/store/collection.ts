import { compareKeys, type StoreKey, type StoreRecord } from './store.ts';

type Place = Pick<StoreKey, 'namespace' | 'name'>;

/**
 * The current records of one resource: a map for gets, a sorted array for lists.
 * get O(1), put and delete O(log n) plus a memmove, list O(log n + records returned).
 */
export class Collection {
  /** The last revision that changed anything here; a list at any later revision equals the current one. */
  lastRevision = 0;
  readonly #byKey = new Map<string, StoreRecord>();
  readonly #sorted: StoreRecord[] = [];

  get(place: Place): StoreRecord | undefined {
    return this.#byKey.get(mapKey(place));
  }

  put(record: StoreRecord): void {
    const key = mapKey(record.key);
    const index = this.#indexOf(record.key);
    this.#sorted.splice(index, this.#byKey.has(key) ? 1 : 0, record);
    this.#byKey.set(key, record);
    this.lastRevision = record.revision;
  }

  delete(place: Place, revision: number): void {
    if (this.#byKey.delete(mapKey(place))) this.#sorted.splice(this.#indexOf(place), 1);
    this.lastRevision = revision;
  }

  list(options: { namespace?: string; after?: Place; limit?: number }): { records: StoreRecord[]; remaining: number } {
    const { namespace, after, limit } = options;
    let start = 0;
    let end = this.#sorted.length;
    if (namespace !== undefined) {
      start = this.#indexOf({ namespace, name: '' });
      end = this.#indexOf({ namespace: `${namespace}\0`, name: '' });
    }
    if (after) start = Math.max(start, this.#indexOf({ namespace: after.namespace, name: `${after.name}\0` }));
    const stop = limit === undefined ? end : Math.min(end, start + limit);
    return { records: this.#sorted.slice(start, stop), remaining: Math.max(0, end - stop) };
  }

  /** Index of the first record at or after the place. */
  #indexOf(place: Place): number {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#sorted[middle]!.key, place) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const mapKey = (place: Place) => `${place.namespace}/${place.name}`;
