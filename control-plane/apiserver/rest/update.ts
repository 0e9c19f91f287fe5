import { isDeepStrictEqual } from 'node:util';
import type { KubeObject } from '../../../src/kube/types.ts';
import type { StoreRecord } from '../../store/store.ts';
import type { ResourceDefinition, StrategyContext } from '../definition.ts';
import { type FieldError, invalid } from '../field-error.ts';
import { dropEmptyMetadata, restoreSystemMetadata, validateMetadata, validateMetadataUpdate } from '../metadata.ts';
import { badRequest, conflict, invalidObject, MODIFIED, notFound } from '../status-error.ts';
import { type Api, keyOf, type Served, unstoredRecord } from './api.ts';

/** What one door to an object (itself, /status, /finalize) lets through. */
export interface UpdateRules<T extends KubeObject = KubeObject> {
  prepare(object: T, old: T, context: StrategyContext): void | Promise<void>;
  validate(object: T, old: T): FieldError[];
  /** True: changes here may raise metadata.generation. */
  readonly countsGeneration: boolean;
}

export interface UpdateTarget {
  readonly namespace: string;
  readonly name: string;
}

/** Conflicts with other writers before a patch gives up. */
const ATTEMPTS = 5;

export function mainRules<T extends KubeObject>(definition: ResourceDefinition<T>): UpdateRules<T> {
  return {
    prepare: (object, old, context) => definition.prepareForUpdate(object, old, context),
    validate: (object, old) => [...definition.validate(object), ...definition.validateUpdate(object, old)],
    countsGeneration: true,
  };
}

/** /status: everything but the status comes from the old object; labels, annotations and finalizers may change. */
export function statusRules<T extends KubeObject>(definition: ResourceDefinition<T>): UpdateRules<T> {
  return {
    prepare(object, old, context) {
      const target = object as unknown as Record<string, unknown>;
      for (const field of Object.keys(target))
        if (field !== 'status' && field !== 'metadata' && !(field in old)) delete target[field];
      for (const [field, value] of Object.entries(structuredClone(old)))
        if (field !== 'status' && field !== 'metadata') target[field] = value;
      if (old.metadata.ownerReferences) object.metadata.ownerReferences = structuredClone(old.metadata.ownerReferences);
      else delete object.metadata.ownerReferences;
      return definition.status?.prepareForUpdate?.(object, old, context);
    },
    validate: (object, old) => definition.status?.validateUpdate?.(object, old) ?? [],
    countsGeneration: false,
  };
}

/**
 * Replaces an object by what `next` makes of the stored one, and tries again when another writer came between, unless
 * the new object insists on a resourceVersion. Returns the stored record; for an object that was only waiting for its
 * last finalizer, the record as it was when it went.
 */
export async function updateObject<T extends KubeObject>(
  api: Api,
  served: Served<T>,
  target: UpdateTarget,
  next: (current: StoreRecord) => T | Promise<T>,
  rules: UpdateRules<T>,
  context: StrategyContext,
  options: { readonly insists: boolean },
): Promise<StoreRecord> {
  const { definition } = served;
  const key = keyOf(served as Served, target.namespace, target.name);
  for (let attempt = 1; ; attempt++) {
    const current = await api.store.get(key);
    if (!current) throw notFound(definition, target.name);
    const object = await next(current);
    const old = served.codec.object(current);
    assertSameIdentity(served, object, old, target);
    if (object.metadata.resourceVersion !== String(current.revision)) throw conflict(definition, target.name, MODIFIED);
    await complete(served, object, old, rules, context);
    const record = await storeChange(api, served, object, current, context);
    if (record) return record;
    if (options.insists || attempt >= ATTEMPTS) throw conflict(definition, target.name, MODIFIED);
  }
}

/** Defaults, what the server owns, the door's rules, generation, validation; in place. */
async function complete<T extends KubeObject>(
  served: Served<T>,
  object: T,
  old: T,
  rules: UpdateRules<T>,
  context: StrategyContext,
): Promise<void> {
  const { definition } = served;
  definition.applyDefaults(object);
  restoreSystemMetadata(object.metadata, old.metadata);
  await rules.prepare(object, old, context);
  dropEmptyMetadata(object.metadata);
  if (rules.countsGeneration && definition.generationChanged?.(object, old))
    object.metadata.generation = (old.metadata.generation ?? 0) + 1;
  const errors = [
    ...validateMetadata(object.metadata, definition as ResourceDefinition),
    ...validateMetadataUpdate(object.metadata, old.metadata),
    ...rules.validate(object, old),
  ];
  if (errors.length > 0) throw invalidObject(definition, old.metadata.name, errors);
}

/** Undefined when another writer was faster. */
async function storeChange<T extends KubeObject>(
  api: Api,
  served: Served<T>,
  object: T,
  current: StoreRecord,
  context: StrategyContext,
): Promise<StoreRecord | undefined> {
  const { definition, codec } = served;
  if (isReleased(definition, object)) {
    const result = await api.store.delete(current.key, current.revision);
    if (!result.ok) return undefined;
    definition.deleted?.(object);
    return unstoredRecord(served, result.record, object);
  }
  let value = codec.encode(object);
  if (isSameText(value, current.value)) return current;
  const hold = await definition.begin?.(object, codec.object(current), context);
  let stored = false;
  try {
    if (hold) value = codec.encode(object);
    const result = await api.store.put(current.key, value, current.revision);
    stored = result.ok;
    return result.ok ? result.record : undefined;
  } finally {
    hold?.finish(stored);
  }
}

/** True for an object that is being deleted and that nothing holds any more. */
export function isReleased<T extends KubeObject>(definition: ResourceDefinition<T>, object: T): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds, finalizers } = object.metadata;
  return (
    Boolean(deletionTimestamp) &&
    !deletionGracePeriodSeconds &&
    !finalizers?.length &&
    !(definition.isHeld?.(object) ?? false)
  );
}

/** A write that changes nothing must not make a new version; key order is no difference. */
function isSameText(value: string, current: string): boolean {
  return value === current || isDeepStrictEqual(JSON.parse(value), JSON.parse(current));
}

function assertSameIdentity<T extends KubeObject>(served: Served<T>, object: T, old: T, target: UpdateTarget): void {
  const { definition } = served;
  const { metadata } = object;
  if (!metadata.name) throw badRequest('name must be provided');
  if (metadata.name !== target.name)
    throw badRequest(`the name of the object (${metadata.name}) does not match the name on the URL (${target.name})`);
  if (definition.namespaced) {
    metadata.namespace ||= target.namespace;
    if (metadata.namespace !== target.namespace)
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
  if (metadata.uid && metadata.uid !== old.metadata.uid)
    throw conflict(
      definition,
      target.name,
      `Precondition failed: UID in precondition: ${metadata.uid}, UID in object meta: ${old.metadata.uid}`,
    );
}

/** PUT without a resourceVersion overwrites whatever is there, where the kind allows that. */
export function settleResourceVersion<T extends KubeObject>(
  definition: ResourceDefinition<T>,
  object: T,
  current: StoreRecord,
): void {
  if (object.metadata.resourceVersion) return;
  if (!definition.allowUnconditionalUpdate)
    throw invalidObject(definition, object.metadata.name, [
      { ...invalid('metadata.resourceVersion', 0, 'must be specified for an update') },
    ]);
  object.metadata.resourceVersion = String(current.revision);
}
