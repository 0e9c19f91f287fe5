import { isAlreadyExists, isNamespaceTerminating, isNotFound } from '../../../src/kube/errors.ts';
import {
  persistentVolumeClaims as claimResource,
  objectKey,
  pods as podResource,
} from '../../../src/kube/resources.ts';
import type { Draft, PersistentVolumeClaim, Pod, Volume } from '../../../src/kube/types.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';
import { isControlledBy } from '../ownership.ts';

/** Makes the claims of generic ephemeral volumes: named `pod-volume`, owned by the pod and gone with it. */
export function createEphemeralVolumeController(dependencies: ControllerDependencies): Controller {
  const { client, informers, events } = dependencies;
  const pods = informers.informer(podResource);
  const claims = informers.informer(claimResource);
  const controller = createReconciler(
    { name: 'ephemeral-volume-controller', inputs: [pods, claims], reconcile },
    dependencies,
  );
  const { queue } = controller;
  const podChanged = (pod: Pod) => {
    if (pod.spec.volumes?.some(({ ephemeral }) => ephemeral)) queue.add(objectKey(pod));
  };
  pods.subscribe({ added: podChanged, updated: (_, pod) => podChanged(pod) });
  claims.subscribe({
    deleted({ metadata }) {
      const owner = metadata.ownerReferences?.find(
        ({ kind, controller: isController }) => kind === 'Pod' && isController,
      );
      if (owner) queue.add(`${metadata.namespace}/${owner.name}`);
    },
  });

  async function reconcile(key: string): Promise<void> {
    const pod = pods.get(key);
    if (!pod || pod.metadata.deletionTimestamp) return;
    for (const volume of pod.spec.volumes ?? []) {
      const draft = claimFor(pod, volume);
      if (draft) await ensure(pod, draft);
    }
  }

  async function ensure(pod: Pod, draft: Draft<PersistentVolumeClaim>): Promise<void> {
    const name = draft.metadata.name!;
    const existing = claims.get(`${pod.metadata.namespace}/${name}`);
    if (existing) {
      if (isControlledBy(existing, pod)) return;
      // It may be somebody's data: the pod waits until it is gone.
      const message = `PVC ${objectKey(existing)} was not created for pod ${objectKey(pod)} (pod is not owner)`;
      events.event(pod, 'Warning', 'FailedBinding', message);
      throw new Error(message);
    }
    try {
      await client.create(claimResource, draft);
    } catch (error) {
      // AlreadyExists: the informer will show whose it is.
      if (isAlreadyExists(error) || isNamespaceTerminating(error) || isNotFound(error)) return;
      events.event(
        pod,
        'Warning',
        'FailedBinding',
        `ephemeral volume controller failed to create PVC ${name}: ${error instanceof Error ? error.message : error}`,
      );
      throw error;
    }
  }

  return controller;
}

/** The claim of a generic ephemeral volume; undefined for other volumes. Pure. */
export function claimFor(pod: Pod, volume: Volume): Draft<PersistentVolumeClaim> | undefined {
  const template = volume.ephemeral?.volumeClaimTemplate;
  if (!template) return undefined;
  const { name, namespace, uid } = pod.metadata;
  const { labels, annotations } = template.metadata ?? {};
  return {
    metadata: {
      name: `${name}-${volume.name}`,
      namespace: namespace!,
      ...(labels && { labels }),
      ...(annotations && { annotations }),
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid, controller: true, blockOwnerDeletion: true }],
    },
    spec: structuredClone(template.spec),
  };
}
