import { Duplex } from 'node:stream';

/** One end of a connection within this process; half-closed by `end()`, hung up by `destroy()`, as a socket is. */
class ConnectionEnd extends Duplex {
  peer!: ConnectionEnd;
  #waiting: ((error?: Error | null) => void) | undefined;

  constructor() {
    super({ allowHalfOpen: true });
  }

  override _read(): void {
    this.#goOn();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.peer.destroyed) done(hungUp());
    // Nothing is copied, and nothing held beyond what the reader's buffer takes.
    else if (this.peer.push(chunk)) done();
    else this.peer.#waiting = done;
  }

  /** A frame's head and its payload stay together for whoever reads. */
  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    if (this.peer.destroyed) {
      done(hungUp());
      return;
    }
    let hasRoom = true;
    for (const { chunk } of chunks) hasRoom = this.peer.push(chunk);
    if (hasRoom) done();
    else this.peer.#waiting = done;
  }

  override _final(done: () => void): void {
    if (!this.peer.destroyed) this.peer.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Whoever still writes to this end learns that nobody reads; whoever reads the other learns that nothing more comes.
    this.#goOn(hungUp());
    if (!this.peer.destroyed && !this.writableFinished) this.peer.push(null);
    done(error);
  }

  #goOn(error?: Error): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(error);
  }
}

const hungUp = () => Object.assign(new Error('the other end of the connection has hung up'), { code: 'EPIPE' });

/** A connection whose two ends are in this process: no socket, no TLS, no copy. */
export function createConnectionPair(): [Duplex, Duplex] {
  const [one, other] = [new ConnectionEnd(), new ConnectionEnd()];
  one.peer = other;
  other.peer = one;
  return [one, other];
}
