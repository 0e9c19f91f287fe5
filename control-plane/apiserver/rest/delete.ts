import type { KubeObject } from '../../../src/kube/types.ts';
import { timestamp } from '../../../src/runtime/clock.ts';
import type { StoreRecord } from '../../store/store.ts';
import type { StrategyContext } from '../definition.ts';
import { invalid } from '../field-error.ts';
import { badRequest, conflict, invalidObject, MODIFIED, notFound } from '../status-error.ts';
import { type Api, keyOf, type Served } from './api.ts';
import { isReleased, type UpdateTarget } from './update.ts';

/** meta.k8s.io/v1 DeleteOptions, from the body or the query. */
export interface DeleteRequest {
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: string;
  readonly orphanDependents?: boolean;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

export interface DeleteOutcome {
  /** True: gone. False: marked, and waiting for its grace or its finalizers. */
  readonly removed: boolean;
  readonly record: StoreRecord;
}

const ORPHAN = 'orphan';
const FOREGROUND = 'foregroundDeletion';
const POLICIES = ['Background', 'Foreground', 'Orphan'];
const ATTEMPTS = 20;

/** Deletes an object, or marks it: with a grace period, with finalizers, or while the kind holds it. */
export async function deleteObject<T extends KubeObject>(
  api: Api,
  served: Served<T>,
  target: UpdateTarget,
  request: DeleteRequest,
  context: StrategyContext,
): Promise<DeleteOutcome> {
  const { definition, codec } = served;
  const key = keyOf(served as Served, target.namespace, target.name);
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const current = await api.store.get(key);
    if (!current) throw notFound(definition, target.name);
    const object = codec.copy(current);
    assertPreconditions(served, object, request);
    definition.checkDelete?.(object, context);
    const outcome = mark(served, object, request, context.nowMs);
    if (outcome === 'remove') {
      const result = await api.store.delete(key, current.revision);
      if (!result.ok) continue;
      definition.deleted?.(object);
      return { removed: true, record: result.record };
    }
    const value = codec.encode(object);
    // Marked before, and nothing new is asked.
    if (value === codec.encode(codec.object(current))) return { removed: false, record: current };
    const result = await api.store.put(key, value, current.revision);
    if (result.ok) return { removed: false, record: result.record };
  }
  throw conflict(definition, target.name, MODIFIED);
}

/** Throws 422 for options that contradict themselves; `definition` only names the object in the error. */
export function assertDeleteOptions(request: DeleteRequest): void {
  const { propagationPolicy, orphanDependents } = request;
  const resource = { group: 'meta.k8s.io', plural: '', kind: 'DeleteOptions' };
  if (propagationPolicy !== undefined && orphanDependents !== undefined)
    throw invalidObject(resource, '', [
      invalid('propagationPolicy', propagationPolicy, 'orphanDependents and deletionPropagation cannot be both set'),
    ]);
  if (propagationPolicy !== undefined && !POLICIES.includes(propagationPolicy))
    throw invalidObject(resource, '', [
      {
        type: 'FieldValueNotSupported',
        field: 'propagationPolicy',
        badValue: propagationPolicy,
        detail: `supported values: ${[...POLICIES, 'nil'].map((policy) => JSON.stringify(policy)).join(', ')}`,
      },
    ]);
  const grace = request.gracePeriodSeconds;
  if (grace !== undefined && !Number.isSafeInteger(grace))
    throw badRequest(`gracePeriodSeconds: expected an integer, got ${JSON.stringify(grace)}`);
}

function assertPreconditions<T extends KubeObject>(served: Served<T>, object: T, request: DeleteRequest): void {
  const { metadata } = object;
  const { uid, resourceVersion } = request.preconditions ?? {};
  const failed = (what: string, wanted: string, found: string) =>
    conflict(
      served.definition,
      metadata.name,
      `Precondition failed: ${what} in precondition: ${wanted}, ${what} in object meta: ${found}`,
    );
  if (uid && uid !== metadata.uid) throw failed('UID', uid, metadata.uid);
  if (resourceVersion && resourceVersion !== metadata.resourceVersion)
    throw failed('ResourceVersion', resourceVersion, metadata.resourceVersion);
}

/** Changes `object` to its state of being deleted, in place; says whether it may go at once instead. */
function mark<T extends KubeObject>(
  { definition }: Served<T>,
  object: T,
  request: DeleteRequest,
  nowMs: number,
): 'remove' | 'keep' {
  const { metadata } = object;
  setPropagationFinalizers(object, propagation(request, definition.defaultPropagationPolicy));
  const asked = request.gracePeriodSeconds;
  const requestedSeconds = asked !== undefined && asked < 0 ? 1 : asked;
  if (metadata.deletionTimestamp) {
    shortenGrace(object, requestedSeconds);
    return isReleased(definition, object) ? 'remove' : 'keep';
  }
  const graceSeconds = Math.max(0, definition.gracePeriodSeconds?.(object, requestedSeconds) ?? 0);
  const held = Boolean(metadata.finalizers?.length) || (definition.isHeld?.(object) ?? false);
  if (graceSeconds === 0 && !held) return 'remove';
  metadata.deletionTimestamp = timestamp(nowMs + graceSeconds * 1000);
  if (definition.gracePeriodSeconds || metadata.finalizers?.length) metadata.deletionGracePeriodSeconds = graceSeconds;
  if (metadata.generation !== undefined) metadata.generation += 1;
  definition.markDeleted?.(object);
  return 'keep';
}

/** A grace under way may only become shorter; it counts from the first delete. */
function shortenGrace(object: KubeObject, requestedSeconds: number | undefined): void {
  const { metadata } = object;
  const currentSeconds = metadata.deletionGracePeriodSeconds ?? 0;
  if (requestedSeconds === undefined || requestedSeconds >= currentSeconds) return;
  const startMs = Date.parse(metadata.deletionTimestamp!) - currentSeconds * 1000;
  metadata.deletionTimestamp = timestamp(startMs + requestedSeconds * 1000);
  metadata.deletionGracePeriodSeconds = requestedSeconds;
}

function propagation(request: DeleteRequest, fallback: 'Background' | 'Orphan' | undefined): string | undefined {
  if (request.orphanDependents !== undefined) return request.orphanDependents ? 'Orphan' : 'Background';
  return request.propagationPolicy ?? (fallback === 'Orphan' ? 'Orphan' : undefined);
}

/** The garbage collector acts on these finalizers; a policy that is not asked for leaves them as they are. */
function setPropagationFinalizers(object: KubeObject, policy: string | undefined): void {
  if (policy === undefined) return;
  const { metadata } = object;
  const wanted = policy === 'Orphan' ? ORPHAN : policy === 'Foreground' ? FOREGROUND : undefined;
  const kept = (metadata.finalizers ?? []).filter(
    (finalizer) => finalizer === wanted || (finalizer !== ORPHAN && finalizer !== FOREGROUND),
  );
  if (wanted && !kept.includes(wanted)) kept.push(wanted);
  if (kept.length > 0) metadata.finalizers = kept;
  else delete metadata.finalizers;
}
