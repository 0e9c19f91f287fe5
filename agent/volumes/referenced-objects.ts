import type { KubeClient } from '../../src/kube/client.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { configMaps, secrets } from '../../src/kube/resources.ts';
import type { ConfigMap, Pod, Secret } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { ReferencedObjects } from '../pods/ports.ts';
import { type ConfigObject, createObjectWatches, keyOf, type ObjectKey } from './object-watches.ts';
import { findReferences } from './pod-references.ts';

export interface ReferencedObjectsOptions {
  /** `configMapAndSecretChangeDetectionStrategy`: a watch for each object, answers kept for a minute, or a question each time. */
  strategy: 'Watch' | 'Cache' | 'Get';
}

export interface ReferencedObjectsDependencies {
  client: KubeClient;
  clock: Clock;
  log: Logger;
}

/** How long `Cache` believes an answer (upstream's default where the Node object says nothing). */
const TTL_MS = 60_000;

/** The ConfigMaps and Secrets that pods of this node name; only those, since a node's identity may read no others. */
export function createReferencedObjects(
  { strategy }: ReferencedObjectsOptions,
  deps: ReferencedObjectsDependencies,
): ReferencedObjects & { close(): void } {
  const { client, clock } = deps;
  const handlers = new Set<(uid: string) => void>();
  const watches = createObjectWatches({
    ...deps,
    onChange(uids) {
      for (const uid of uids) for (const handler of handlers) handler(uid);
    },
  });
  /** By pod UID: the pod as it was seen last, and what it names. */
  const followed = new Map<string, { pod: Pod; objects: Map<string, ObjectKey> }>();
  const cached = new Map<string, { value: ConfigObject | undefined; untilMs: number }>();

  async function ask({ kind, namespace, name }: ObjectKey): Promise<ConfigObject | undefined> {
    try {
      if (kind === 'configMap') return await client.get(configMaps, { namespace, name });
      return await client.get(secrets, { namespace, name });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async function read(object: ObjectKey): Promise<ConfigObject | undefined> {
    const known = strategy === 'Watch' ? await watches.get(object) : undefined;
    // Not followed, or the watch cannot be had: a plain question tells why.
    if (known) return known.value;
    if (strategy !== 'Cache') return ask(object);
    const key = keyOf(object);
    const held = cached.get(key);
    if (held && clock.monotonicMs() < held.untilMs) return held.value;
    const value = await ask(object);
    cached.set(key, { value, untilMs: clock.monotonicMs() + TTL_MS });
    return value;
  }

  function release(uid: string, objects: Iterable<ObjectKey>): void {
    for (const object of objects) {
      if (strategy === 'Watch') watches.remove(object, uid);
      else cached.delete(keyOf(object));
    }
  }

  return {
    configMap: (namespace, name) => read({ kind: 'configMap', namespace, name }) as Promise<ConfigMap | undefined>,
    secret: (namespace, name) => read({ kind: 'secret', namespace, name }) as Promise<Secret | undefined>,
    follow(pod) {
      const { uid, namespace = 'default' } = pod.metadata;
      const before = followed.get(uid);
      if (before?.pod === pod) return;
      const objects = new Map(
        findReferences(pod).map((reference) => {
          const object = { ...reference, namespace };
          return [keyOf(object), object];
        }),
      );
      for (const [key, object] of objects) {
        if (before?.objects.has(key)) continue;
        // A new pod begins with the newest, not with what an earlier one was told.
        if (strategy === 'Watch') watches.add(object, uid);
        else cached.delete(key);
      }
      if (before)
        release(
          uid,
          [...before.objects].filter(([key]) => !objects.has(key)).map(([, object]) => object),
        );
      followed.set(uid, { pod, objects });
    },
    forget(uid) {
      const last = followed.get(uid);
      followed.delete(uid);
      if (last) release(uid, last.objects.values());
    },
    onChange(handler) {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    /** Ends all watches: an open one keeps the program alive. */
    close() {
      for (const { objects } of followed.values()) for (const object of objects.values()) watches.end(object);
      followed.clear();
    },
  };
}
