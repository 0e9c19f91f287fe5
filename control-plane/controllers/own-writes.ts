import type { Informer } from '../../src/kube/informer.ts';
import { objectKey } from '../../src/kube/resources.ts';
import type { KubeObject } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';

/** A write that never shows up (deleted at once, a watch that lags for long) must not block its owner for ever. */
const PATIENCE_MS = 30_000;

/**
 * Remembers what a controller wrote for a key until the informer shows it, so that the next pass does not decide on a
 * copy that lacks the last one's writes (and create pods twice). What client-go's "expectations" do by counting is done
 * here by resourceVersion: a watch delivers in order, so a copy that is not older than the write contains it.
 */
export function createOwnWrites<T extends KubeObject>(informer: Informer<T>, clock: Clock) {
  const pending = new Map<string, { isSeen(): boolean; sinceMs: number }[]>();

  function remember(key: string, isSeen: () => boolean) {
    if (isSeen()) return;
    const waits = pending.get(key) ?? [];
    waits.push({ isSeen, sinceMs: clock.monotonicMs() });
    pending.set(key, waits);
  }

  return {
    /** A create, update or patch under this key was answered with `object`. */
    wrote(key: string, object: T) {
      const written = BigInt(object.metadata.resourceVersion);
      remember(key, () => BigInt(informer.resourceVersion() ?? 0) >= written);
    },
    /** A delete under this key was accepted. */
    deleted(key: string, object: T) {
      const { uid } = object.metadata;
      const at = objectKey(object);
      remember(key, () => {
        const current = informer.get(at);
        return current?.metadata.uid !== uid || current.metadata.deletionTimestamp !== undefined;
      });
    },
    /** True when the informer shows everything written under this key. Else look again on its next event. */
    areSeen(key: string): boolean {
      const now = clock.monotonicMs();
      const waits = (pending.get(key) ?? []).filter((wait) => now - wait.sinceMs < PATIENCE_MS && !wait.isSeen());
      if (waits.length === 0) pending.delete(key);
      else pending.set(key, waits);
      return waits.length === 0;
    },
    patienceMs: PATIENCE_MS,
  };
}
