import { isConflict, isNotFound } from '../../../src/kube/errors.ts';
import {
  persistentVolumeClaims as claimResource,
  objectKey,
  pods as podResource,
  persistentVolumes as volumeResource,
} from '../../../src/kube/resources.ts';
import type { KubeObject, PersistentVolumeClaim, Pod } from '../../../src/kube/types.ts';
import { PVC_PROTECTION } from '../../resources/storage/persistent-volume-claims.ts';
import { PV_PROTECTION } from '../../resources/storage/persistent-volumes.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';
import { isControlledBy } from '../ownership.ts';

/** Lets a deleted claim go when no pod uses it any more; until then its finalizer keeps it (sheet §17). */
export function createClaimProtection(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const claims = informers.informer(claimResource);
  const pods = informers.informer(podResource);
  const podsOf = pods.index(claimKeys);
  const controller = createReconciler(
    { name: 'pvc-protection-controller', inputs: [claims, pods], reconcile },
    dependencies,
  );
  const { queue } = controller;
  const claimChanged = (claim: PersistentVolumeClaim) => {
    if (isLeaving(claim, PVC_PROTECTION)) queue.add(objectKey(claim));
  };
  const podChanged = (pod: Pod) => {
    for (const key of claimKeys(pod)) queue.add(key);
  };
  claims.subscribe({ added: claimChanged, updated: (_, claim) => claimChanged(claim) });
  pods.subscribe({ updated: (_, pod) => podChanged(pod), deleted: podChanged });

  async function reconcile(key: string): Promise<void> {
    const claim = claims.get(key);
    if (!claim || !isLeaving(claim, PVC_PROTECTION)) return;
    if (podsOf(key).some((pod) => usesClaim(pod, claim))) return;
    // The copy may be behind: what a pod uses must not go for that.
    const { namespace } = claim.metadata;
    const live = await client.list(podResource, { namespace });
    if (live.items.some((pod) => usesClaim(pod, claim))) return;
    await withoutFinalizer(claim, PVC_PROTECTION, (object) => client.replace(claimResource, object));
  }

  return controller;
}

/** Lets a deleted volume go when it is bound no more. */
export function createVolumeProtection(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const volumes = informers.informer(volumeResource);
  const controller = createReconciler({ name: 'pv-protection-controller', inputs: [volumes], reconcile }, dependencies);
  const changed = ({ metadata }: KubeObject) => controller.queue.add(metadata.name);
  volumes.subscribe({ added: changed, updated: (_, volume) => changed(volume) });

  async function reconcile(name: string): Promise<void> {
    const volume = volumes.get(name);
    if (!volume || !isLeaving(volume, PV_PROTECTION) || volume.status?.phase === 'Bound') return;
    await withoutFinalizer(volume, PV_PROTECTION, (object) => client.replace(volumeResource, object));
  }

  return controller;
}

function isLeaving({ metadata }: KubeObject, finalizer: string): boolean {
  return Boolean(metadata.deletionTimestamp) && (metadata.finalizers?.includes(finalizer) ?? false);
}

async function withoutFinalizer<T extends KubeObject>(
  object: T,
  finalizer: string,
  replace: (object: T) => Promise<unknown>,
): Promise<void> {
  const finalizers = (object.metadata.finalizers ?? []).filter((one) => one !== finalizer);
  try {
    await replace({ ...object, metadata: { ...object.metadata, finalizers } });
  } catch (error) {
    // Changed meanwhile: its event brings the key back.
    if (!isNotFound(error) && !isConflict(error)) throw error;
  }
}

/** `namespace/name` of each claim that the pod names, by itself or as a generic ephemeral volume. */
function claimKeys(pod: Pod): string[] {
  const { namespace, name } = pod.metadata;
  return (pod.spec.volumes ?? []).flatMap((volume) => {
    if (volume.persistentVolumeClaim) return [`${namespace}/${volume.persistentVolumeClaim.claimName}`];
    return volume.ephemeral ? [`${namespace}/${name}-${volume.name}`] : [];
  });
}

/**
 * A pod without a node does not count: no node starts a pod whose claim is being deleted. A finished pod does, as its
 * node may still have the volume mounted; only an ephemeral volume of a pod that has shut down is free.
 */
function usesClaim(pod: Pod, claim: PersistentVolumeClaim): boolean {
  if (!pod.spec.nodeName) return false;
  return (pod.spec.volumes ?? []).some(
    (volume) =>
      volume.persistentVolumeClaim?.claimName === claim.metadata.name ||
      (volume.ephemeral !== undefined &&
        `${pod.metadata.name}-${volume.name}` === claim.metadata.name &&
        isControlledBy(claim, pod) &&
        !hasShutDown(pod)),
  );
}

function hasShutDown({ metadata, status }: Pod): boolean {
  const isDone = status?.phase === 'Succeeded' || status?.phase === 'Failed';
  return isDone && Boolean(metadata.deletionTimestamp) && metadata.deletionGracePeriodSeconds === 0;
}
