/** Lets n holders in at a time, in the order of asking. */
export function createPullSlots(count: number) {
  let free = count;
  const waiting: (() => void)[] = [];

  function release() {
    const next = waiting.shift();
    if (next) next();
    else free++;
  }

  return {
    /** Resolves to the function that gives the slot back (once). */
    async acquire(signal: AbortSignal): Promise<() => void> {
      signal.throwIfAborted();
      if (free > 0) free--;
      else
        await new Promise<void>((resolve, reject) => {
          const enter = () => {
            signal.removeEventListener('abort', leave);
            resolve();
          };
          const leave = () => {
            waiting.splice(waiting.indexOf(enter), 1);
            reject(signal.reason);
          };
          waiting.push(enter);
          signal.addEventListener('abort', leave, { once: true });
        });
      let held = true;
      return () => {
        if (held) release();
        held = false;
      };
    },
  };
}
