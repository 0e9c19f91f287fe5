import { isAlreadyExists, isNamespaceTerminating, isNotFound } from '../../src/kube/errors.ts';
import {
  deployments as deploymentResource,
  objectKey,
  pods as podResource,
  replicaSets as replicaSetResource,
} from '../../src/kube/resources.ts';
import { labelSelector } from '../../src/kube/selectors.ts';
import type { Deployment, Draft, Pod, ReplicaSet } from '../../src/kube/types.ts';
import { findCondition, withCondition } from './conditions.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';
import { computeDeploymentPlan, type DeploymentPlan } from './deployment-plan.ts';
import { REVISION, splitReplicaSets } from './deployment-revisions.ts';
import { wantedReplicas } from './deployment-scaling.ts';
import { hasDeadline, progressing } from './deployment-status.ts';
import { createOwnWrites } from './own-writes.ts';
import { applyClaims, computeClaims, controllerOf } from './ownership.ts';
import { isPodTerminal } from './pod-state.ts';
import { sameStatus } from './same-status.ts';
import { equalTemplates } from './template-hash.ts';

/** Turns Deployments into ReplicaSets: rollouts, revisions, scaling, progress. */
export function createDeploymentController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, events } = dependencies;
  const deployments = informers.informer(deploymentResource);
  const replicaSets = informers.informer(replicaSetResource);
  const pods = informers.informer(podResource);
  const replicaSetsByOwner = replicaSets.index((replicaSet) => [controllerOf(replicaSet)?.uid]);
  const orphansByNamespace = replicaSets.index((one) => (controllerOf(one) ? [] : [one.metadata.namespace]));
  const deploymentsByNamespace = deployments.index((deployment) => [deployment.metadata.namespace]);
  const podsByOwner = pods.index((pod) => [controllerOf(pod)?.uid]);
  const ownWrites = createOwnWrites(replicaSets, clock);

  const controller = createReconciler(
    {
      name: 'deployment-controller',
      inputs: [deployments, replicaSets, pods],
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;

  deployments.subscribe({
    added: (deployment) => queue.add(objectKey(deployment)),
    updated: (_, deployment) => queue.add(objectKey(deployment)),
    deleted: (deployment) => queue.add(objectKey(deployment)),
  });
  replicaSets.subscribe({
    added: enqueueOwners,
    updated(old, replicaSet) {
      const before = controllerOf(old);
      if (before && before.uid !== controllerOf(replicaSet)?.uid) enqueueOwners(old);
      enqueueOwners(replicaSet);
    },
    deleted: enqueueOwners,
  });
  // Recreate waits for the last old pod to end.
  pods.subscribe({ updated: (_, pod) => isPodTerminal(pod) && enqueueRecreate(pod), deleted: enqueueRecreate });

  function enqueueOwners(replicaSet: ReplicaSet) {
    const owner = controllerOf(replicaSet);
    const namespace = replicaSet.metadata.namespace!;
    if (owner) {
      if (owner.kind === 'Deployment') queue.add(`${namespace}/${owner.name}`);
      return;
    }
    for (const deployment of deploymentsByNamespace(namespace))
      if (labelSelector(deployment.spec.selector).matches(replicaSet.metadata.labels)) queue.add(objectKey(deployment));
  }

  function enqueueRecreate(pod: Pod) {
    const { namespace } = pod.metadata;
    const replicaSet = replicaSets.get(`${namespace}/${controllerOf(pod)?.name}`);
    const deployment = replicaSet && deployments.get(`${namespace}/${controllerOf(replicaSet)?.name}`);
    if (deployment?.spec.strategy?.type === 'Recreate') queue.add(objectKey(deployment));
  }

  async function reconcile(key: string): Promise<void> {
    const deployment = deployments.get(key);
    if (!deployment) return;
    if (!ownWrites.areSeen(key)) return queue.addAfter(key, ownWrites.patienceMs);
    const { namespace, uid } = deployment.metadata;
    const candidates = [...replicaSetsByOwner(uid), ...orphansByNamespace(namespace!)];
    const { owned, changed } = await applyClaims(
      client,
      { resource: deploymentResource, object: deployment },
      replicaSetResource,
      computeClaims(deployment, labelSelector(deployment.spec.selector), candidates),
    );
    for (const replicaSet of changed) ownWrites.wrote(key, replicaSet);

    const { old } = splitReplicaSets(deployment, owned);
    const oldPodsRun = old.some(({ metadata }) => podsByOwner(metadata.uid).some((pod) => !isPodTerminal(pod)));
    const plan = computeDeploymentPlan({ deployment, replicaSets: owned, oldPodsRun, nowMs: clock.nowMs() });
    await apply(key, deployment, plan);
    if (plan.recheckAfterMs !== undefined) queue.addAfter(key, plan.recheckAfterMs + 1000);
  }

  async function apply(key: string, deployment: Deployment, plan: DeploymentPlan): Promise<void> {
    if (plan.create && !(await create(key, deployment, plan.create))) return;
    for (const { from, to } of plan.updates) {
      ownWrites.wrote(key, await client.replace(replicaSetResource, to));
      tellScaling(deployment, to.metadata.name, wantedReplicas(from), wantedReplicas(to));
    }
    for (const replicaSet of plan.remove) await remove(key, replicaSet);
    let latest = deployment;
    if (plan.revision) {
      const { namespace, name } = deployment.metadata;
      const patch = { metadata: { annotations: { [REVISION]: plan.revision } } };
      latest = await client.patch(deploymentResource, { namespace, name, type: 'merge', patch });
    }
    if (!sameStatus(plan.status, deployment.status))
      await client.replace(deploymentResource, { ...latest, status: plan.status }, { subresource: 'status' });
  }

  /** False when the name was taken by another template: then the collision count is raised and the next pass tries again. */
  async function create(key: string, deployment: Deployment, draft: Draft<ReplicaSet>): Promise<boolean> {
    const { namespace } = deployment.metadata;
    const name = draft.metadata.name!;
    try {
      ownWrites.wrote(key, await client.create(replicaSetResource, draft, { namespace }));
      tellScaling(deployment, name, 0, draft.spec.replicas ?? 1);
      return true;
    } catch (error) {
      if (isNamespaceTerminating(error)) return false;
      if (!isAlreadyExists(error)) {
        await tellFailedCreate(deployment, name, error);
        throw error;
      }
    }
    const existing = await client.get(replicaSetResource, { namespace, name });
    const isOurs = controllerOf(existing)?.uid === deployment.metadata.uid;
    if (isOurs && equalTemplates(existing.spec.template, deployment.spec.template)) {
      // An earlier pass made it and the copy does not show it yet.
      ownWrites.wrote(key, existing);
      queue.add(key);
      return false;
    }
    const status = { ...deployment.status, collisionCount: (deployment.status?.collisionCount ?? 0) + 1 };
    await client.replace(deploymentResource, { ...deployment, status }, { subresource: 'status' });
    return false;
  }

  async function tellFailedCreate(deployment: Deployment, name: string, error: unknown): Promise<void> {
    const message = `Failed to create new replica set "${name}": ${error instanceof Error ? error.message : error}`;
    events.event(deployment, 'Warning', 'ReplicaSetCreateError', message);
    const before = deployment.status?.conditions ?? [];
    if (!hasDeadline(deployment) || findCondition(before, 'Progressing')?.reason === 'ReplicaSetCreateError') return;
    const conditions = withCondition(before, progressing('False', 'ReplicaSetCreateError', message, clock.nowMs()));
    const status = { ...deployment.status, conditions };
    await client.replace(deploymentResource, { ...deployment, status }, { subresource: 'status' });
  }

  async function remove(key: string, replicaSet: ReplicaSet): Promise<void> {
    const { namespace, name, uid } = replicaSet.metadata;
    try {
      await client.delete(replicaSetResource, { namespace, name, uid });
      ownWrites.deleted(key, replicaSet);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  function tellScaling(deployment: Deployment, name: string, from: number, to: number) {
    if (from === to) return;
    const message = `Scaled ${to > from ? 'up' : 'down'} replica set ${name} from ${from} to ${to}`;
    events.event(deployment, 'Normal', 'ScalingReplicaSet', message);
  }

  return controller;
}
