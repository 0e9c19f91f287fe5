import type { KubeObject } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { Store, StoreKey, StoreRecord } from '../../store/store.ts';
import type { SchemaPort } from '../body.ts';
import { createCodec, type ObjectCodec } from '../codec.ts';
import type { ObjectReader, ResourceDefinition, ResourceName } from '../definition.ts';
import { type Registry, storeResource } from '../registry.ts';

/** A definition with what is derived from it. */
export interface Served<T extends KubeObject = KubeObject> {
  readonly definition: ResourceDefinition<T>;
  readonly codec: ObjectCodec<T>;
  /** Its name in the store. */
  readonly resource: string;
}

/** What all REST handlers share. */
export interface Api {
  readonly store: Store;
  readonly registry: Registry;
  readonly schema: SchemaPort;
  readonly clock: Clock;
  readonly log: Logger;
  readonly objects: ObjectReader;
  served(definition: ResourceDefinition): Served;
  /** For tests of names; Math.random unless said. */
  readonly random: () => number;
  readonly requestTimeoutMs: number;
}

export function createApi(
  registry: Registry,
  deps: Pick<Api, 'store' | 'schema' | 'clock' | 'log' | 'requestTimeoutMs'> & { random?: () => number },
): Api {
  const byDefinition = new Map<ResourceDefinition, Served>();
  for (const definition of registry.definitions)
    byDefinition.set(definition, {
      definition,
      codec: createCodec(definition),
      resource: storeResource(definition),
    });
  const served = (definition: ResourceDefinition) => {
    const found = byDefinition.get(definition);
    if (!found) throw new Error(`${definition.plural} are not registered`);
    return found;
  };
  return {
    ...deps,
    registry,
    served,
    objects: createObjectReader(deps.store, registry, served),
    random: deps.random ?? Math.random,
  };
}

function createObjectReader(
  store: Store,
  registry: Registry,
  served: (definition: ResourceDefinition) => Served,
): ObjectReader {
  const codecOf = (name: ResourceName): ObjectCodec => {
    const definition = registry.byName(name);
    if (!definition) throw new Error(`no resource ${name.plural} in group ${JSON.stringify(name.group)}`);
    return served(definition).codec;
  };
  return {
    async get<T extends KubeObject>(name: ResourceName, namespace: string, objectName: string) {
      const codec = codecOf(name);
      const record = await store.get({ resource: storeResource(name), namespace, name: objectName });
      return record && (codec.object(record) as T);
    },
    async list<T extends KubeObject>(name: ResourceName, namespace?: string) {
      const codec = codecOf(name);
      const { records } = await store.list({ resource: storeResource(name), namespace });
      return records.map((record) => codec.object(record) as T);
    },
  };
}

/** The store's key of an object; cluster-scoped kinds have no namespace there. */
export function keyOf(served: Served, namespace: string, name: string): StoreKey {
  return { resource: served.resource, namespace: served.definition.namespaced ? namespace : '', name };
}

/** A record as it would be with another object, for answers about what is no longer stored. */
export function unstoredRecord<T extends KubeObject>(served: Served<T>, base: StoreRecord, object: T): StoreRecord {
  return { key: base.key, revision: base.revision, value: served.codec.encode(object) };
}
