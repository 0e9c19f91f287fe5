import type { KubeObject } from '../../src/kube/types.ts';
import type { Store } from '../store/store.ts';
import { createCodec, type ObjectCodec } from './codec.ts';
import type { ObjectReader, ResourceDefinition, ResourceName } from './definition.ts';
import { createRegistry, storeResource } from './registry.ts';

/** Reads committed objects straight from the store: for strategies, the authorizer, allocators. */
export function createObjectReader(store: Store, definitions: readonly ResourceDefinition[]): ObjectReader {
  const registry = createRegistry(definitions);
  const codecs = new Map(definitions.map((definition) => [definition, createCodec(definition)]));
  const codecOf = (name: ResourceName): ObjectCodec => {
    const definition = registry.byName(name);
    if (!definition) throw new Error(`no resource ${name.plural} in group ${JSON.stringify(name.group)}`);
    return codecs.get(definition)!;
  };
  return {
    async get<T extends KubeObject>(resource: ResourceName, namespace: string, name: string) {
      const codec = codecOf(resource);
      const record = await store.get({ resource: storeResource(resource), namespace, name });
      return record && (codec.object(record) as T);
    },
    async list<T extends KubeObject>(resource: ResourceName, namespace?: string) {
      const codec = codecOf(resource);
      const { records } = await store.list({ resource: storeResource(resource), namespace });
      return records.map((record) => codec.object(record) as T);
    },
  };
}
