/** Those who wait for the last container of a pod to end. */
export interface EndWaiters {
  /** Resolves with `ended(uid)`; rejects with the reason of `abandon`, at once when that has been called. */
  wait(uid: string): Promise<void>;
  ended(uid: string): void;
  /** Nobody will ever tell any more: the agent stops. */
  abandon(reason: unknown): void;
}

export function createEndWaiters(): EndWaiters {
  const waiters = new Map<string, PromiseWithResolvers<void>>();
  let abandoned: { reason: unknown } | undefined;

  return {
    wait(uid) {
      if (abandoned) return Promise.reject(abandoned.reason);
      const waiter = waiters.get(uid) ?? Promise.withResolvers<void>();
      waiters.set(uid, waiter);
      return waiter.promise;
    },
    ended(uid) {
      waiters.get(uid)?.resolve();
      waiters.delete(uid);
    },
    abandon(reason) {
      abandoned = { reason };
      for (const waiter of waiters.values()) waiter.reject(reason);
      waiters.clear();
    },
  };
}
