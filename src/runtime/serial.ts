/** Runs asynchronous pieces of work one at a time, in the order in which they were asked for. */
export type Serial = <T>(work: () => Promise<T> | T, signal?: AbortSignal) => Promise<T>;

/**
 * What fails concerns its caller alone: the next piece runs all the same. Whose signal ends while it waits for its turn is rejected at
 * once, and its piece never runs: somebody whose turn it is may be waiting for that caller.
 */
export function createSerial(): Serial {
  let last: Promise<unknown> = Promise.resolve();
  return <T>(work: () => Promise<T> | T, signal?: AbortSignal) => {
    let hasBegun = false;
    const begin = () => {
      signal?.throwIfAborted();
      hasBegun = true;
      return work();
    };
    const next = last.then(begin, begin);
    last = next.catch(() => undefined);
    if (!signal) return next;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const onAbort = () => {
      if (!hasBegun) reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    next.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    return promise;
  };
}
