import { closeSync } from 'node:fs';
import { Duplex } from 'node:stream';
import {
  connectUnixStream,
  POLLIN,
  POLLOUT,
  receiveDescriptors,
  sendDescriptors,
  shutdownSocket,
  waitOnThread,
} from '../linux/descriptors.ts';

const READ_BYTES = 64 * 1024;
/** A wait is broken by shutdown(2); this bounds one that nothing breaks. */
const WAIT_MS = 1000;

/**
 * A UNIX stream socket that also carries file descriptors, in the shape that dbus-native wants of a transport: `writeWithFds`, an event
 * `fds`, `closeFds`. While it is open, a thread of Node's pool waits for it: for short conversations only.
 */
export class DescriptorStream extends Duplex {
  readonly #fd: number;
  readonly #attached = new WeakMap<Uint8Array, readonly number[]>();
  #isReading = false;
  #users = 0;
  #isClosing = false;

  /** @throws SyscallError as `connectUnixStream` */
  constructor(path: string) {
    super({ allowHalfOpen: false });
    this.#fd = connectUnixStream(path);
  }

  /** As write(), the descriptors beside the first byte. They must stay open until it has been flushed. */
  writeWithFds(data: Uint8Array, fds: readonly number[]): boolean {
    this.#attached.set(data, fds);
    return this.write(data);
  }

  /** Descriptors that arrived and that no message claimed. */
  closeFds(fds: readonly number[]): void {
    for (const fd of fds) closeSync(fd);
  }

  override _read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#use(async () => {
      for (;;) {
        const received = this.#isClosing ? undefined : receiveDescriptors(this.#fd, READ_BYTES);
        if (this.#isClosing) return;
        if (!received) {
          await waitOnThread(this.#fd, POLLIN, WAIT_MS);
          continue;
        }
        if (received.descriptors.length > 0) this.emit('fds', received.descriptors);
        if (received.data.length === 0) {
          this.push(null);
          return;
        }
        if (this.push(received.data)) continue;
        this.#isReading = false;
        return;
      }
    });
  }

  override _write(chunk: Buffer, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    let descriptors = this.#attached.get(chunk) ?? [];
    this.#use(async () => {
      let rest = chunk;
      while (rest.length > 0 && !this.#isClosing) {
        const sent = sendDescriptors(this.#fd, rest, descriptors);
        if (sent === undefined) {
          await waitOnThread(this.#fd, POLLOUT, WAIT_MS);
          continue;
        }
        descriptors = [];
        rest = rest.subarray(sent);
      }
      callback();
    });
  }

  override _final(callback: () => void): void {
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#isClosing = true;
    shutdownSocket(this.#fd);
    this.#closeWhenUnused();
    callback(error);
  }

  /** The number must not be given to somebody else while a thread still waits for it. */
  #use(work: () => Promise<void>): void {
    this.#users++;
    work()
      .catch((error: Error) => this.destroy(error))
      .finally(() => {
        this.#users--;
        this.#closeWhenUnused();
      });
  }

  #closeWhenUnused(): void {
    if (this.#isClosing && this.#users === 0) {
      this.#users = Number.POSITIVE_INFINITY;
      closeSync(this.#fd);
    }
  }
}
