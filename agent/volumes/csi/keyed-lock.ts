/** Runs what is given under the same key one after another, in the order of the calls. */
export function createKeyedLock() {
  const tails = new Map<string, Promise<unknown>>();
  return async function locked<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = tails.get(key);
    const own = (async () => {
      await before?.catch(() => {});
      return work();
    })();
    tails.set(key, own);
    try {
      return await own;
    } finally {
      if (tails.get(key) === own) tails.delete(key);
    }
  };
}
