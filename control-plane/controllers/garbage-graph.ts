import type { Informer, InformerSet } from '../../src/kube/informer.ts';
import { apiVersionOf, objectKey, type Resource } from '../../src/kube/resources.ts';
import type { KubeObject, OwnerReference } from '../../src/kube/types.ts';

/** An object and the kind that it is of. */
export interface GraphItem {
  resource: Resource;
  object: KubeObject;
}

/** Who owns whom, over all served kinds: a view of the informers, which hold the objects anyway. */
export interface GarbageGraph {
  readonly informers: Informer<KubeObject>[];
  item(itemKey: string): GraphItem | undefined;
  /** The resource of an owner reference; undefined when this API does not serve the kind. */
  resourceOf(reference: OwnerReference): Resource | undefined;
  /** Everything that names this uid as an owner. */
  dependents(uid: string): GraphItem[];
}

export const FOREGROUND_FINALIZER = 'foregroundDeletion';
export const ORPHAN_FINALIZER = 'orphan';

/** Identifies an item in the queue: 'group/plural|namespace/name'. */
export function itemKey({ resource, object }: GraphItem): string {
  return `${resource.group}/${resource.plural}|${objectKey(object)}`;
}

/** True while an object waits, in foreground deletion, for its dependents to go first. */
export function waitsForDependents(object: KubeObject): boolean {
  return Boolean(object.metadata.deletionTimestamp) && hasFinalizer(object, FOREGROUND_FINALIZER);
}

export function hasFinalizer(object: KubeObject, finalizer: string): boolean {
  return object.metadata.finalizers?.includes(finalizer) ?? false;
}

export function createGarbageGraph(resources: readonly Resource[], informers: InformerSet): GarbageGraph {
  const kinds = resources.map((resource) => {
    const informer = informers.informer(resource);
    const byOwner = informer.index((object) => (object.metadata.ownerReferences ?? []).map(({ uid }) => uid));
    return { resource, informer, byOwner, id: `${resource.group}/${resource.plural}` };
  });
  const byId = new Map(kinds.map((kind) => [kind.id, kind]));
  const byKind = new Map(resources.map((resource) => [`${apiVersionOf(resource)}/${resource.kind}`, resource]));
  return {
    informers: kinds.map(({ informer }) => informer),
    item(key) {
      const bar = key.indexOf('|');
      const kind = byId.get(key.slice(0, bar));
      const object = kind?.informer.get(key.slice(bar + 1));
      return kind && object && { resource: kind.resource, object };
    },
    resourceOf: ({ apiVersion, kind }) => byKind.get(`${apiVersion}/${kind}`),
    dependents: (uid) => kinds.flatMap(({ resource, byOwner }) => byOwner(uid).map((object) => ({ resource, object }))),
  };
}

export interface OwnerStates {
  /** Owners that live and are not waiting for their dependents. */
  solid: OwnerReference[];
  /** Owners that are gone. */
  dangling: OwnerReference[];
  /** Owners in foreground deletion: they go when their dependents, this one too, are gone. */
  waiting: OwnerReference[];
}

export type GarbageVerdict =
  | { do: 'nothing' }
  /** Some owners live: only the references to the others go. */
  | { do: 'unlink'; references: OwnerReference[] }
  /** No owner is left; `unblock` are dependents in a circle that would wait for this object for ever. */
  | { do: 'delete'; policy: 'Background' | 'Foreground' | 'Orphan'; unblock: GraphItem[] };

/** What becomes of an object whose owners are in these states (upstream's attemptToDeleteItem). */
export function judge(object: KubeObject, owners: OwnerStates, dependents: readonly GraphItem[]): GarbageVerdict {
  if (owners.solid.length > 0) {
    if (owners.dangling.length + owners.waiting.length === 0) return { do: 'nothing' };
    return { do: 'unlink', references: owners.solid };
  }
  if (owners.waiting.length > 0 && dependents.length > 0) {
    const circle = dependents.filter((dependent) => waitsForDependents(dependent.object));
    return { do: 'delete', policy: 'Foreground', unblock: circle };
  }
  if (owners.waiting.length + owners.dangling.length === 0) return { do: 'nothing' };
  if (hasFinalizer(object, ORPHAN_FINALIZER)) return { do: 'delete', policy: 'Orphan', unblock: [] };
  if (hasFinalizer(object, FOREGROUND_FINALIZER)) return { do: 'delete', policy: 'Foreground', unblock: [] };
  return { do: 'delete', policy: 'Background', unblock: [] };
}
