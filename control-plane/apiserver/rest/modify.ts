import type { KubeObject } from '../../../src/kube/types.ts';
import { conflict, MODIFIED, notFound } from '../status-error.ts';
import { type Api, keyOf, type Served } from './api.ts';
import type { UpdateTarget } from './update.ts';

const ATTEMPTS = 5;

/**
 * A change by the server itself (binding): read, change a copy, store; again when another writer came between. It is not
 * validated: `change` must be right by itself, and may throw a `StatusError` to refuse.
 */
export async function modifyObject<T extends KubeObject>(
  api: Api,
  served: Served<T>,
  target: UpdateTarget,
  change: (object: T) => void,
): Promise<T> {
  const { definition, codec } = served;
  const key = keyOf(served as Served, target.namespace, target.name);
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const current = await api.store.get(key);
    if (!current) throw notFound(definition, target.name);
    const object = codec.copy(current);
    change(object);
    if (definition.generationChanged?.(object, codec.object(current)))
      object.metadata.generation = (object.metadata.generation ?? 0) + 1;
    const result = await api.store.put(key, codec.encode(object), current.revision);
    if (result.ok) return codec.object(result.record);
  }
  throw conflict(definition, target.name, MODIFIED);
}
