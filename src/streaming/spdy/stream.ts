import { Duplex } from 'node:stream';
import type { SpdyHeaders } from './headers.ts';

/** What a stream needs of its connection. */
export interface StreamPort {
  /** Resolves when the connection takes more. */
  send(streamId: number, payload: Buffer, fin: boolean): Promise<void>;
  reset(streamId: number): void;
  /** The stream has room again, or needs none any more. */
  wantsMore(streamId: number): void;
  closed(streamId: number): void;
}

/** Held for a reader that is slow, before it holds up the connection. */
const BUFFER_BYTES = 256 * 1024;

/** One stream of a connection: half-closed by `end()`, closed by both ends, reset by `destroy()`. */
export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly #port: StreamPort;
  #isRemoteDone = false;
  #isReset = false;

  constructor(id: number, headers: SpdyHeaders, port: StreamPort) {
    super({ allowHalfOpen: true, readableHighWaterMark: BUFFER_BYTES, writableHighWaterMark: BUFFER_BYTES });
    this.id = id;
    this.headers = headers;
    this.#port = port;
    // Whoever uses the stream learns of its end by `close`; an error that nobody waits for must not end the process.
    this.on('error', () => {});
  }

  /** Data of the peer; false: the connection should wait until `wantsMore`. */
  receive(payload: Buffer, fin: boolean): boolean {
    // Whoever reads no longer is no reason to hold up the others.
    if (this.destroyed || this.#isRemoteDone) return true;
    const hasRoom = payload.length === 0 || this.push(payload);
    if (fin) {
      this.#isRemoteDone = true;
      this.push(null);
    }
    return hasRoom;
  }

  /** The peer gave the stream up, or the connection ended. */
  abort(error: Error | undefined): void {
    this.#isReset = true;
    if (this.#isRemoteDone && this.writableFinished) return;
    this.destroy(error);
  }

  override _read(): void {
    this.#port.wantsMore(this.id);
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#port.send(this.id, chunk, false).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#port.send(this.id, Buffer.alloc(0), true).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const isWhole = this.#isRemoteDone && this.writableFinished;
    if (!isWhole && !this.#isReset) this.#port.reset(this.id);
    this.#port.closed(this.id);
    this.#port.wantsMore(this.id);
    done(error);
  }
}
