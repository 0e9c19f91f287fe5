/** Runs asynchronous pieces of work one at a time, in the order in which they were asked for. */
export type Serial = <T>(work: () => Promise<T> | T) => Promise<T>;

/** What fails concerns its caller alone: the next piece runs all the same. */
export function createSerial(): Serial {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const next = last.then(work, work);
    last = next.catch(() => undefined);
    return next;
  };
}
