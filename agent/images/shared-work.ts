/**
 * Work that several may wait for: who asks for a key while its work is under way joins it. It is aborted when the last
 * of them has gone.
 */
export function createSharedWork<T>() {
  interface Running {
    done: Promise<T>;
    abort: AbortController;
    waiting: number;
  }
  const running = new Map<string, Running>();

  function start(key: string, work: (signal: AbortSignal) => Promise<T>): Running {
    const abort = new AbortController();
    const entry: Running = { abort, waiting: 0, done: work(abort.signal).finally(() => leave(key, entry)) };
    // Whoever has gone is not told of a failure.
    entry.done.catch(() => {});
    running.set(key, entry);
    return entry;
  }

  function leave(key: string, entry: Running): void {
    if (running.get(key) === entry) running.delete(key);
  }

  return async function share(key: string, work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const entry = running.get(key) ?? start(key, work);
    entry.waiting++;
    let onAbort = () => {};
    const gone = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([entry.done, gone]);
    } finally {
      signal.removeEventListener('abort', onAbort);
      entry.waiting--;
      if (entry.waiting === 0) {
        // A newcomer must not join what is being broken off.
        leave(key, entry);
        entry.abort.abort(signal.reason);
      }
    }
  };
}
