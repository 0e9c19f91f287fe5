import type { RawNetlinkSocket } from 'netlink/dist/raw.js';

/** What a raw socket has to tell: datagrams, in their order, and that some were lost. */
export interface RawListener {
  message(datagram: Buffer): void;
  /** The code of what went wrong: ENOBUFS when messages were lost, EMSGSIZE when one was cut off. */
  failed(code: string): void;
}

/**
 * Listens outside of the package's native callbacks, in the same turn of the event loop. Its C++ bears no exception: one that is thrown
 * in a tick right behind a listener (the 'error' of a server that nobody hears, say) ends the process with "terminate called after
 * throwing an instance of 'Napi::Error'" in place of a stack. Here it goes the way of every other one.
 */
export function listenOutsideNative(raw: RawNetlinkSocket, listener: RawListener): void {
  let waiting: (() => void)[] = [];
  const later = (event: () => void) => {
    if (waiting.push(event) === 1) setImmediate(deliver);
  };
  function deliver(): void {
    const events = waiting;
    waiting = [];
    for (const event of events) event();
  }
  raw.on('message', (datagram) => later(() => listener.message(datagram)));
  raw.on('error', (error) => later(() => listener.failed((error as NodeJS.ErrnoException).code ?? 'EIO')));
  raw.on('truncatedMessage', () => later(() => listener.failed('EMSGSIZE')));
}
