import { isNotFound } from '../../src/kube/errors.ts';
import type { Resource } from '../../src/kube/resources.ts';
import type { KubeObject, OwnerReference } from '../../src/kube/types.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';
import {
  createGarbageGraph,
  FOREGROUND_FINALIZER,
  type GraphItem,
  hasFinalizer,
  itemKey,
  judge,
  ORPHAN_FINALIZER,
  type OwnerStates,
  waitsForDependents,
} from './garbage-graph.ts';
import { writeReferences } from './ownership.ts';

export interface GarbageCollectorOptions {
  /** All kinds that can own or be owned; events need not be among them. */
  resources: readonly Resource[];
}

/** Deletes what has lost its owners, and carries out foreground and orphaning deletions. */
export function createGarbageCollector(
  options: GarbageCollectorOptions,
  dependencies: ControllerDependencies,
): Controller {
  const { client, log, events } = dependencies;
  const graph = createGarbageGraph(options.resources, dependencies.informers);
  const controller = createReconciler(
    {
      name: 'garbage-collector-controller',
      inputs: graph.informers,
      concurrency: 10,
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;
  /** Owners that were found gone; a uid never comes back, so this spares asking the API again. */
  const goneOwners = new Set<string>();

  for (const informer of graph.informers) {
    const { resource } = informer;
    informer.subscribe({
      added: (object) => changed({ resource, object }),
      updated: (_, object) => changed({ resource, object }),
      deleted: (object) => removed({ resource, object }),
    });
  }

  function changed(item: GraphItem) {
    const { metadata } = item.object;
    if (metadata.ownerReferences?.length || metadata.deletionTimestamp) queue.add(itemKey(item));
    // Its dependents must go before it can.
    if (waitsForDependents(item.object))
      for (const dependent of graph.dependents(metadata.uid)) queue.add(itemKey(dependent));
  }

  function removed({ object }: GraphItem) {
    rememberGone(object.metadata.uid);
    for (const dependent of graph.dependents(object.metadata.uid)) queue.add(itemKey(dependent));
    // An owner in foreground deletion may have waited for this one.
    for (const reference of object.metadata.ownerReferences ?? []) {
      const owner = cachedOwner(object, reference);
      if (owner && waitsForDependents(owner.object)) queue.add(itemKey(owner));
    }
  }

  function rememberGone(uid: string) {
    goneOwners.add(uid);
    if (goneOwners.size > 10_000) goneOwners.delete(goneOwners.values().next().value!);
  }

  function cachedOwner(object: KubeObject, reference: OwnerReference): GraphItem | undefined {
    const resource = graph.resourceOf(reference);
    if (!resource) return undefined;
    const namespace = resource.namespaced ? `${object.metadata.namespace}/` : '';
    const owner = graph.item(`${resource.group}/${resource.plural}|${namespace}${reference.name}`);
    return owner?.object.metadata.uid === reference.uid ? owner : undefined;
  }

  async function reconcile(key: string): Promise<void> {
    const item = graph.item(key);
    if (!item) return;
    const { metadata } = item.object;
    if (metadata.deletionTimestamp) {
      if (hasFinalizer(item.object, ORPHAN_FINALIZER)) await orphanDependents(item);
      else if (waitsForDependents(item.object)) await releaseWhenUnblocked(item);
      return;
    }
    if (!metadata.ownerReferences?.length) return;
    const owners = await classifyOwners(item);
    if (!owners) return;
    const verdict = judge(item.object, owners, graph.dependents(metadata.uid));
    if (verdict.do === 'unlink') await writeReferences(client, item.resource, item.object, verdict.references);
    if (verdict.do !== 'delete') return;
    for (const dependent of verdict.unblock) await unblock(dependent, metadata.uid);
    await remove(item, verdict.policy);
  }

  /** Undefined when one of the owners can't be judged: then nothing is done, since deleting can't be undone. */
  async function classifyOwners({ resource, object }: GraphItem): Promise<OwnerStates | undefined> {
    const states: OwnerStates = { solid: [], dangling: [], waiting: [] };
    for (const reference of object.metadata.ownerReferences ?? []) {
      const ownerResource = graph.resourceOf(reference);
      if (!ownerResource) {
        log.debug({ kind: reference.kind, apiVersion: reference.apiVersion }, 'an owner of a kind that is not served');
        return undefined;
      }
      if (ownerResource.namespaced && !resource.namespaced) {
        const message = `ownerRef [${reference.apiVersion}/${reference.kind}, name: ${reference.name}, uid: ${reference.uid}] is namespaced, but ${resource.kind} is cluster-scoped`;
        events.event(object, 'Warning', 'OwnerRefInvalidNamespace', message);
        return undefined;
      }
      const owner = cachedOwner(object, reference)?.object ?? (await liveOwner(ownerResource, object, reference));
      if (!owner) states.dangling.push(reference);
      else if (waitsForDependents(owner)) states.waiting.push(reference);
      else states.solid.push(reference);
    }
    return states;
  }

  /** Asks the API itself: a copy that lags must not cost an object its life. */
  async function liveOwner(
    resource: Resource,
    object: KubeObject,
    reference: OwnerReference,
  ): Promise<KubeObject | undefined> {
    if (goneOwners.has(reference.uid)) return undefined;
    const namespace = resource.namespaced ? object.metadata.namespace : undefined;
    try {
      const owner = await client.get(resource, { namespace, name: reference.name });
      if (owner.metadata.uid === reference.uid) return owner;
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    rememberGone(reference.uid);
    return undefined;
  }

  async function remove({ resource, object }: GraphItem, policy: 'Background' | 'Foreground' | 'Orphan') {
    const { namespace, name, uid, resourceVersion } = object.metadata;
    log.debug({ kind: resource.kind, object: `${namespace}/${name}`, policy }, 'no owner is left, deleting');
    try {
      // The version guards against an owner that was added in this moment.
      await client.delete(resource, { namespace, name, uid, resourceVersion, propagationPolicy: policy });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Foreground: the owner goes once no dependent that blocks it is left. */
  async function releaseWhenUnblocked(item: GraphItem): Promise<void> {
    const { uid } = item.object.metadata;
    const blocking = graph
      .dependents(uid)
      .filter(({ object }) =>
        object.metadata.ownerReferences?.some((reference) => reference.uid === uid && reference.blockOwnerDeletion),
      );
    if (blocking.length === 0) return removeFinalizer(item, FOREGROUND_FINALIZER);
    for (const dependent of blocking) if (!waitsForDependents(dependent.object)) queue.add(itemKey(dependent));
  }

  async function orphanDependents(item: GraphItem): Promise<void> {
    const { uid } = item.object.metadata;
    for (const { resource, object } of graph.dependents(uid)) {
      const references = (object.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
      await writeReferences(client, resource, object, references);
    }
    await removeFinalizer(item, ORPHAN_FINALIZER);
  }

  async function removeFinalizer({ resource, object }: GraphItem, finalizer: string): Promise<void> {
    const { namespace, name, uid, resourceVersion } = object.metadata;
    const finalizers = (object.metadata.finalizers ?? []).filter((one) => one !== finalizer);
    const patch = { metadata: { uid, resourceVersion, finalizers } };
    try {
      await client.patch(resource, { namespace, name, type: 'merge', patch });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Makes a dependent's reference to `uid` non-blocking. */
  async function unblock({ resource, object }: GraphItem, uid: string): Promise<void> {
    const references = (object.metadata.ownerReferences ?? []).map((reference) =>
      reference.uid === uid ? { ...reference, blockOwnerDeletion: false } : reference,
    );
    await writeReferences(client, resource, object, references);
  }

  return controller;
}
