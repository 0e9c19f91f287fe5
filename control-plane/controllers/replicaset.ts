import { isNamespaceTerminating, isNotFound } from '../../src/kube/errors.ts';
import { objectKey, pods as podResource, replicaSets as replicaSetResource } from '../../src/kube/resources.ts';
import { labelSelector } from '../../src/kube/selectors.ts';
import type { Pod, ReplicaSet } from '../../src/kube/types.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';
import { createOwnWrites } from './own-writes.ts';
import { applyClaims, computeClaims, controllerOf } from './ownership.ts';
import { isPodActive } from './pod-state.ts';
import {
  buildPodFromTemplate,
  computeReplicaSetPlan,
  computeReplicaSetStatus,
  type ReplicaFailure,
  type ReplicaSetPlan,
} from './replicaset-plan.ts';
import { sameStatus } from './same-status.ts';
import { runSlowStart } from './slow-start.ts';

/** Keeps as many pods as each ReplicaSet wants: adopts, releases, creates, deletes, counts. */
export function createReplicaSetController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, events } = dependencies;
  const replicaSets = informers.informer(replicaSetResource);
  const pods = informers.informer(podResource);
  const podsByOwner = pods.index((pod) => [controllerOf(pod)?.uid]);
  const orphansByNamespace = pods.index((pod) => (controllerOf(pod) ? [] : [pod.metadata.namespace]));
  const replicaSetsByOwner = replicaSets.index((replicaSet) => [controllerOf(replicaSet)?.uid]);
  const replicaSetsByNamespace = replicaSets.index((replicaSet) => [replicaSet.metadata.namespace]);
  const ownWrites = createOwnWrites(pods, clock);

  const controller = createReconciler(
    {
      name: 'replicaset-controller',
      inputs: [replicaSets, pods],
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;

  replicaSets.subscribe({
    added: (replicaSet) => queue.add(objectKey(replicaSet)),
    updated: (_, replicaSet) => queue.add(objectKey(replicaSet)),
    deleted: (replicaSet) => queue.add(objectKey(replicaSet)),
  });
  pods.subscribe({
    added: enqueueOwners,
    updated(old, pod) {
      const before = controllerOf(old);
      if (before && before.uid !== controllerOf(pod)?.uid) enqueueOwners(old);
      enqueueOwners(pod);
    },
    deleted: enqueueOwners,
  });

  function enqueueOwners(pod: Pod) {
    const owner = controllerOf(pod);
    const namespace = pod.metadata.namespace!;
    if (owner) {
      if (owner.kind === 'ReplicaSet') queue.add(`${namespace}/${owner.name}`);
      return;
    }
    // An orphan may be adopted by whoever selects it.
    for (const replicaSet of replicaSetsByNamespace(namespace))
      if (labelSelector(replicaSet.spec.selector).matches(pod.metadata.labels)) queue.add(objectKey(replicaSet));
  }

  /** Active pods of all ReplicaSets of the same Deployment, by node: deletion prefers crowded nodes. */
  function countSiblings(replicaSet: ReplicaSet): Map<string, number> {
    const owner = controllerOf(replicaSet);
    const family = owner ? replicaSetsByOwner(owner.uid) : [replicaSet];
    const counts = new Map<string, number>();
    for (const { metadata } of family)
      for (const pod of podsByOwner(metadata.uid).filter(isPodActive)) {
        const node = pod.spec.nodeName ?? '';
        counts.set(node, (counts.get(node) ?? 0) + 1);
      }
    return counts;
  }

  async function reconcile(key: string): Promise<void> {
    const replicaSet = replicaSets.get(key);
    if (!replicaSet) return;
    const { namespace, uid } = replicaSet.metadata;
    const candidates = [...podsByOwner(uid), ...orphansByNamespace(namespace!)];
    const claims = computeClaims(replicaSet, labelSelector(replicaSet.spec.selector), candidates);
    // Only live pods are worth adopting: a finished one would not count anyway.
    claims.adopt = claims.adopt.filter(isPodActive);
    const { owned, changed } = await applyClaims(
      client,
      { resource: replicaSetResource, object: replicaSet },
      podResource,
      claims,
    );
    for (const pod of changed) ownWrites.wrote(key, pod);

    let failure: ReplicaFailure | undefined;
    let cause: unknown;
    if (ownWrites.areSeen(key)) {
      const plan = computeReplicaSetPlan(replicaSet, owned, countSiblings(replicaSet), clock.nowMs());
      ({ failure, cause } = await apply(key, replicaSet, plan));
    } else queue.addAfter(key, ownWrites.patienceMs);

    const { status, recheckAfterMs } = computeReplicaSetStatus(replicaSet, owned, failure, clock.nowMs());
    if (!sameStatus(status, replicaSet.status))
      await client.replace(replicaSetResource, { ...replicaSet, status }, { subresource: 'status' });
    if (recheckAfterMs !== undefined) queue.addAfter(key, recheckAfterMs);
    if (cause && !isNamespaceTerminating(cause)) throw cause;
  }

  async function apply(key: string, replicaSet: ReplicaSet, plan: ReplicaSetPlan) {
    if (plan.create > 0) {
      const { namespace } = replicaSet.metadata;
      const draft = buildPodFromTemplate(replicaSet.spec.template!, replicaSet);
      const { results, error } = await runSlowStart(plan.create, () =>
        client.create(podResource, draft, { namespace }),
      );
      for (const pod of results) {
        ownWrites.wrote(key, pod);
        events.event(replicaSet, 'Normal', 'SuccessfulCreate', `Created pod: ${pod.metadata.name}`);
      }
      if (!error) return {};
      const message = error instanceof Error ? error.message : String(error);
      if (!isNamespaceTerminating(error))
        events.event(replicaSet, 'Warning', 'FailedCreate', `Error creating: ${message}`);
      return { failure: { reason: 'FailedCreate' as const, message }, cause: error };
    }
    const settled = await Promise.allSettled(plan.remove.map((pod) => remove(key, replicaSet, pod)));
    const failed = settled.find((one) => one.status === 'rejected');
    if (!failed) return {};
    const message = failed.reason instanceof Error ? failed.reason.message : String(failed.reason);
    return { failure: { reason: 'FailedDelete' as const, message }, cause: failed.reason };
  }

  async function remove(key: string, replicaSet: ReplicaSet, pod: Pod): Promise<void> {
    const { namespace, name, uid } = pod.metadata;
    try {
      await client.delete(podResource, { namespace, name, uid });
    } catch (error) {
      if (isNotFound(error)) return;
      events.event(
        replicaSet,
        'Warning',
        'FailedDelete',
        `Error deleting: ${error instanceof Error ? error.message : String(error)}`,
      );
      throw error;
    }
    ownWrites.deleted(key, pod);
    events.event(replicaSet, 'Normal', 'SuccessfulDelete', `Deleted pod: ${name}`);
  }

  return controller;
}
