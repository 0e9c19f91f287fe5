import type { Logger } from '../runtime/log.ts';
import { objectKey } from './resources.ts';
import type { KubeObject } from './types.ts';

export interface InformerHandlers<T> {
  added?(object: T): void;
  updated?(old: T, object: T): void;
  /** Gets the last known state. */
  deleted?(object: T): void;
}

/** The copy itself: a map that tells its subscribers what changed. Without any I/O. */
export function createObjectStore<T extends KubeObject>(log: Logger) {
  let objects = new Map<string, T>();
  const subscribers = new Set<InformerHandlers<T>>();
  const indexes: { keysOf: (object: T) => (string | undefined)[]; entries: Map<string, Set<string>> }[] = [];

  function notify(call: (handlers: InformerHandlers<T>) => void) {
    for (const handlers of [...subscribers]) {
      try {
        call(handlers);
      } catch (error) {
        log.error({ err: error }, 'an informer handler threw; the change is lost to it');
      }
    }
  }

  function reindex(key: string, old: T | undefined, now: T | undefined) {
    for (const { keysOf, entries } of indexes) {
      for (const value of old ? keysOf(old) : []) {
        const keys = entries.get(value ?? '');
        keys?.delete(key);
        if (keys?.size === 0) entries.delete(value ?? '');
      }
      for (const value of now ? keysOf(now) : []) addToIndex(entries, value ?? '', key);
    }
  }

  function put(object: T) {
    const key = objectKey(object);
    const old = objects.get(key);
    // Another uid under the same name: the deletion in between was missed.
    if (old && old.metadata.uid !== object.metadata.uid) remove(old);
    else if (old) {
      if (old.metadata.resourceVersion === object.metadata.resourceVersion) return;
      objects.set(key, object);
      reindex(key, old, object);
      notify((handlers) => handlers.updated?.(old, object));
      return;
    }
    objects.set(key, object);
    reindex(key, undefined, object);
    notify((handlers) => handlers.added?.(object));
  }

  function remove(last: T) {
    const key = objectKey(last);
    const old = objects.get(key);
    if (!old) return;
    objects.delete(key);
    reindex(key, old, undefined);
    notify((handlers) => handlers.deleted?.(last));
  }

  return {
    put,
    remove,
    /** Makes the copy equal to a full list, telling only the differences. */
    replaceAll(found: Map<string, T>) {
      for (const [key, old] of [...objects]) if (!found.has(key)) remove(old);
      for (const object of found.values()) put(object);
      // Keep the server's order for list().
      objects = new Map([...found.keys()].map((key) => [key, objects.get(key)!]));
    },
    list: () => [...objects.values()],
    get: (key: string) => objects.get(key),
    subscribe(handlers: InformerHandlers<T>) {
      for (const object of [...objects.values()]) {
        try {
          handlers.added?.(object);
        } catch (error) {
          log.error({ err: error }, 'an informer handler threw; the change is lost to it');
        }
      }
      subscribers.add(handlers);
      return () => {
        subscribers.delete(handlers);
      };
    },
    index(keysOf: (object: T) => (string | undefined)[]) {
      const entries = new Map<string, Set<string>>();
      indexes.push({ keysOf, entries });
      for (const [key, object] of objects) for (const value of keysOf(object)) addToIndex(entries, value ?? '', key);
      return (value: string) => [...(entries.get(value) ?? [])].map((key) => objects.get(key)!);
    },
  };
}

function addToIndex(entries: Map<string, Set<string>>, value: string, key: string) {
  const keys = entries.get(value);
  if (keys) keys.add(key);
  else entries.set(value, new Set([key]));
}
