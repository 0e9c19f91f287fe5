import { EPOLLIN, type KernelEvents, openKernelEvents } from '../../../src/linux/kernel-events.ts';

/** Calls when a descriptor has something to read, until the returned function is called; close the descriptor only then. */
export interface Readiness {
  watch(fd: number, onReadable: () => void): () => void;
}

/**
 * One thread of Node's pool for all descriptors that are waited for, and none while nothing is: exchanges take milliseconds and come
 * hours apart.
 */
export function createReadiness(): Readiness {
  let current: { events: KernelEvents; stop: AbortController; watched: number } | undefined;

  function start() {
    const events = openKernelEvents();
    const stop = new AbortController();
    events.run(stop.signal).finally(() => events.close());
    current = { events, stop, watched: 0 };
    return current;
  }

  return {
    watch(fd, onReadable) {
      const session = current ?? start();
      const forget = session.events.add(fd, EPOLLIN, onReadable);
      session.watched += 1;
      return () => {
        forget();
        session.watched -= 1;
        if (session.watched > 0) return;
        if (current === session) current = undefined;
        session.stop.abort();
      };
    },
  };
}
