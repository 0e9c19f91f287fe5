import type { StoreEvent } from './store.ts';

/**
 * The newest events of all resources, in memory: watches that start a little in the past are served from here, without
 * touching the disk. A ring of `capacity`; memory is that many events (their texts are shared with the collections).
 */
export class History {
  readonly #capacity: number;
  #events: StoreEvent[] = [];
  #first = 0;
  /** Events after this revision are all here. */
  #since: number;

  constructor(capacity: number, since: number) {
    this.#capacity = capacity;
    this.#since = since;
  }

  append(event: StoreEvent): void {
    this.#events.push(event);
    if (this.#events.length - this.#first > this.#capacity) {
      this.#since = this.#events[this.#first]!.revision;
      this.#first++;
      // The dead head is dropped in one go, so that an append stays O(1) on average.
      if (this.#first > this.#capacity) {
        this.#events = this.#events.slice(this.#first);
        this.#first = 0;
      }
    }
  }

  covers(afterRevision: number): boolean {
    return afterRevision >= this.#since;
  }

  /** Events after the revision; only when it is covered. */
  after(revision: number): StoreEvent[] {
    let low = this.#first;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#events[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return this.#events.slice(low);
  }
}
