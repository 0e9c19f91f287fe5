import type { KubeClient } from '../../src/kube/client.ts';
import { createInformer, type Informer, stripManagedFields } from '../../src/kube/informer.ts';
import { configMaps, type Resource, secrets } from '../../src/kube/resources.ts';
import type { ConfigMap, Secret } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { ReferenceKind } from './pod-references.ts';

export type ConfigObject = ConfigMap | Secret;

export interface ObjectKey {
  kind: ReferenceKind;
  namespace: string;
  name: string;
}

export const keyOf = ({ kind, namespace, name }: ObjectKey) => `${kind}/${namespace}/${name}`;

const RESOURCES = { configMap: configMaps, secret: secrets } as unknown as Record<
  ReferenceKind,
  Resource<ConfigObject>
>;

/** One object of the API, followed by a watch of its own: all that a node's identity may watch. */
interface Watched {
  readonly users: Set<string>;
  readonly informer: Informer<ConfigObject>;
  readonly stop: AbortController;
  /** Somebody could not wait for the first list. */
  isMissed: boolean;
}

export interface ObjectWatches {
  add(object: ObjectKey, user: string): void;
  remove(object: ObjectKey, user: string): void;
  /** Whoever uses it. */
  end(object: ObjectKey): void;
  /** The object as the watch has it (`value` undefined: it does not exist); undefined while it is not known. */
  get(object: ObjectKey): Promise<{ value: ConfigObject | undefined } | undefined>;
}

export interface ObjectWatchesDependencies {
  client: KubeClient;
  clock: Clock;
  log: Logger;
  /** Told who uses an object that has changed, appeared or gone. */
  onChange(users: ReadonlySet<string>): void;
}

/** Who asks waits this long for a watch that has just begun (upstream's figure). */
const SYNC_TIMEOUT_MS = 1_000;

/** Watches of single objects, each shared by all who use the object and ended with the last of them. */
export function createObjectWatches(deps: ObjectWatchesDependencies): ObjectWatches {
  const { client, clock, log } = deps;
  const watched = new Map<string, Watched>();

  function start(object: ObjectKey): Watched {
    const { kind, namespace, name } = object;
    const informer = createInformer<ConfigObject>({
      client,
      resource: RESOURCES[kind],
      namespace,
      fieldSelector: `metadata.name=${name}`,
      transform: stripManagedFields,
      clock,
      log,
    });
    const entry: Watched = { users: new Set(), informer, stop: new AbortController(), isMissed: false };
    const tell = () => {
      // What the first list brings is what everybody waits for, unless somebody has given up.
      if (informer.hasSynced() || entry.isMissed) deps.onChange(entry.users);
    };
    const take = (now: ConfigObject) => {
      tell();
      // It cannot change any more. Not from within its own delivery.
      if (now.immutable) queueMicrotask(() => entry.stop.abort());
    };
    informer.subscribe({ added: take, updated: (_old, now) => take(now), deleted: tell });
    informer.run(entry.stop.signal).catch((error) => log.error({ err: error, object: keyOf(object) }, 'watch ended'));
    return entry;
  }

  return {
    add(object, user) {
      const key = keyOf(object);
      const entry = watched.get(key) ?? start(object);
      watched.set(key, entry);
      entry.users.add(user);
    },
    remove(object, user) {
      const key = keyOf(object);
      const entry = watched.get(key);
      if (!entry?.users.delete(user) || entry.users.size > 0) return;
      watched.delete(key);
      entry.stop.abort();
    },
    end(object) {
      watched.get(keyOf(object))?.stop.abort();
      watched.delete(keyOf(object));
    },
    async get(object) {
      const entry = watched.get(keyOf(object));
      if (!entry) return undefined;
      const { informer } = entry;
      if (!informer.hasSynced()) {
        const late = new AbortController();
        const timeout = clock.sleep(SYNC_TIMEOUT_MS, late.signal).catch(() => {});
        await Promise.race([informer.synced(), timeout]);
        late.abort();
      }
      if (informer.hasSynced()) return { value: informer.get(`${object.namespace}/${object.name}`) };
      entry.isMissed = true;
      return undefined;
    },
  };
}
