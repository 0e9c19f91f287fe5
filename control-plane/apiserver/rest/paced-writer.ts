import type { ServerResponse } from 'node:http';
import type { HttpResponse } from '../exchange.ts';

/** Bytes handed to the connection at once. */
const CHUNK_BYTES = 64 * 1024;
/** Items looked at in one turn of the event loop, written or not. */
const ITEMS_PER_TURN = 500;

/**
 * Writes a stream of items as fast as the client reads them. What waits is kept as items (shared with the store), not as
 * bytes; `render` makes the bytes when their turn comes, or nothing for an item that this client doesn't see.
 * Per client: at most one chunk in the connection's buffer, and the backlog, which its user must bound.
 */
export class PacedWriter<T> {
  readonly #response: ServerResponse;
  readonly #render: (item: T) => string | Buffer | undefined;
  #items: T[] = [];
  #next = 0;
  /** True while the connection drains or a next turn is planned. */
  #waiting = false;
  #closed = false;

  constructor(response: HttpResponse, render: (item: T) => string | Buffer | undefined) {
    this.#response = response as ServerResponse;
    this.#render = render;
    this.#response.on('drain', () => this.#resume());
  }

  /** Items that wait. */
  get backlog(): number {
    return this.#items.length - this.#next;
  }

  push(items: readonly T[]): void {
    if (this.#closed) return;
    for (const item of items) this.#items.push(item);
    if (!this.#waiting) this.#pump();
  }

  /** Drops what waits; nothing is written any more. */
  close(): void {
    this.#closed = true;
    this.#items = [];
    this.#next = 0;
  }

  #resume(): void {
    this.#waiting = false;
    this.#pump();
  }

  #pump(): void {
    const chunk: Buffer[] = [];
    let bytes = 0;
    let looked = 0;
    while (!this.#closed && this.#next < this.#items.length && bytes < CHUNK_BYTES && looked < ITEMS_PER_TURN) {
      looked++;
      const line = this.#render(this.#items[this.#next++]!);
      if (line === undefined) continue;
      const buffer = typeof line === 'string' ? Buffer.from(line) : line;
      chunk.push(buffer);
      bytes += buffer.length;
    }
    if (this.#closed) return;
    this.#forget();
    const flowing = bytes === 0 || this.#response.write(chunk.length === 1 ? chunk[0] : Buffer.concat(chunk, bytes));
    if (!flowing) {
      this.#waiting = true;
    } else if (this.backlog > 0) {
      this.#waiting = true;
      setImmediate(() => this.#resume());
    }
  }

  /** Lets go of what was written, in large steps. */
  #forget(): void {
    if (this.#next < this.#items.length && this.#next < ITEMS_PER_TURN) return;
    this.#items = this.#items.slice(this.#next);
    this.#next = 0;
  }
}
