import { randomUUID } from 'node:crypto';
import type { KubeObject, Namespace } from '../../../src/kube/types.ts';
import { timestamp } from '../../../src/runtime/clock.ts';
import type { StoreRecord } from '../../store/store.ts';
import type { StrategyContext } from '../definition.ts';
import { generateName } from '../generate-name.ts';
import { dropEmptyMetadata, dropUnserved, validateMetadata } from '../metadata.ts';
import { alreadyExists, badRequest, forbidden, invalidObject, notFound } from '../status-error.ts';
import { type Api, keyOf, type Served } from './api.ts';

const NAMESPACES = { group: '', plural: 'namespaces', kind: 'Namespace' };
const GENERATE_ATTEMPTS = 8;

/** Stores a new object; `object` is completed in place. `namespace` is the path's, '' for cluster-scoped kinds. */
export async function createObject<T extends KubeObject>(
  api: Api,
  served: Served<T>,
  object: T,
  namespace: string,
  context: StrategyContext,
): Promise<StoreRecord> {
  const { definition } = served;
  const { metadata } = object;
  settleNamespace(served, object, namespace);
  if (metadata.resourceVersion) throw badRequest('resourceVersion should not be set on objects to be created');
  const generated = !metadata.name && Boolean(metadata.generateName);
  definition.applyDefaults(object);
  setSystemMetadata(object, context.nowMs);
  if (definition.generationChanged) metadata.generation = 1;
  if (definition.namespaced) await assertNamespaceTakesContent(api, served, namespace, metadata.name ?? '');
  for (let attempt = 1; ; attempt++) {
    if (generated) metadata.name = generateName(metadata.generateName!, api.random);
    if (attempt === 1) {
      await definition.prepareForCreate(object, context);
      dropEmptyMetadata(metadata);
      const errors = [...validateMetadata(metadata, definition), ...definition.validate(object)];
      if (errors.length > 0) throw invalidObject(definition, metadata.name ?? '', errors);
    }
    const record = await storeNew(api, served, object, context);
    if (record) return record;
    if (!generated || attempt >= GENERATE_ATTEMPTS) throw alreadyExists(definition, metadata.name);
  }
}

/** Undefined when the name is taken. */
async function storeNew<T extends KubeObject>(api: Api, served: Served<T>, object: T, context: StrategyContext) {
  const key = keyOf(served as Served, object.metadata.namespace ?? '', object.metadata.name);
  // Looked up first, so that a name that is taken takes no addresses.
  if (await api.store.get(key)) return undefined;
  const hold = await served.definition.begin?.(object, undefined, context);
  let stored = false;
  try {
    const result = await api.store.put(key, served.codec.encode(object), 0);
    stored = result.ok;
    return result.ok ? result.record : undefined;
  } finally {
    hold?.finish(stored);
  }
}

/** The path says the namespace; a body that says another one is refused. */
export function settleNamespace(
  served: { definition: { namespaced: boolean } },
  object: KubeObject,
  namespace: string,
) {
  const { metadata } = object;
  if (!served.definition.namespaced) {
    if (metadata.namespace === '') delete metadata.namespace;
    return;
  }
  if (!namespace) throw badRequest('an empty namespace may not be set during creation');
  if (metadata.namespace && metadata.namespace !== namespace)
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  metadata.namespace = namespace;
}

function setSystemMetadata(object: KubeObject, nowMs: number): void {
  const { metadata } = object;
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  delete metadata.generation;
  dropUnserved(metadata);
  metadata.uid = randomUUID();
  metadata.creationTimestamp = timestamp(nowMs);
}

/** New objects need a namespace that exists and is not being deleted (NamespaceLifecycle). */
async function assertNamespaceTakesContent<T extends KubeObject>(
  api: Api,
  { definition }: Served<T>,
  namespace: string,
  name: string,
): Promise<void> {
  if (!api.registry.byName(NAMESPACES)) return;
  const found = await api.objects.get<Namespace>(NAMESPACES, '', namespace);
  if (!found) throw notFound(NAMESPACES, namespace);
  if (!found.metadata.deletionTimestamp) return;
  const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
  throw forbidden(definition, name, why, [
    {
      reason: 'NamespaceTerminating',
      message: `namespace ${namespace} is being terminated`,
      field: 'metadata.namespace',
    },
  ]);
}
