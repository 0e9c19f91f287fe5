import type { KubeObject } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { Store, StoreKey, StoreRecord } from '../../store/store.ts';
import type { SchemaPort } from '../body.ts';
import { createCodec, type ObjectCodec } from '../codec.ts';
import type { ObjectReader, ResourceDefinition, ResourceName } from '../definition.ts';
import { createObjectReader } from '../object-reader.ts';
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
    objects: createObjectReader(deps.store, registry.definitions),
    random: deps.random ?? Math.random,
  };
}

/** By name, whatever version. */
export function servedBy(api: Api, name: ResourceName): Served {
  const definition = api.registry.byName(name);
  if (!definition) throw new Error(`no resource ${name.plural} in group ${JSON.stringify(name.group)}`);
  return api.served(definition);
}

/** The store's key of an object; cluster-scoped kinds have no namespace there. */
export function keyOf(served: Served, namespace: string, name: string): StoreKey {
  return { resource: served.resource, namespace: served.definition.namespaced ? namespace : '', name };
}

/** A record as it would be with another object, for answers about what is no longer stored. */
export function unstoredRecord<T extends KubeObject>(served: Served<T>, base: StoreRecord, object: T): StoreRecord {
  return { key: base.key, revision: base.revision, value: served.codec.encode(object) };
}
