import type { PersistentVolume, PersistentVolumeClaim, Pod, Volume } from '../../../src/kube/types.ts';

/** What of the API a claim is resolved with; undefined: there is none. */
export interface ClaimApi {
  claim(namespace: string, name: string): Promise<PersistentVolumeClaim | undefined>;
  volume(name: string): Promise<PersistentVolume | undefined>;
}

/** The name of the claim behind a pod's volume. */
export function claimNameOf(pod: Pod, volume: Volume): string {
  return volume.persistentVolumeClaim?.claimName ?? `${pod.metadata.name}-${volume.name}`;
}

/**
 * The volume behind a pod's claim, when the pod may have it: the claim is bound, stays, is (for an ephemeral volume) the
 * pod's own, and the volume says so too. The errors are upstream's words.
 */
export async function resolveClaim(pod: Pod, volume: Volume, api: ClaimApi): Promise<PersistentVolume> {
  const namespace = pod.metadata.namespace!;
  const name = claimNameOf(pod, volume);
  const refuse = (why: string) => new Error(`error processing PVC ${namespace}/${name}: ${why}`);
  const claim = await api.claim(namespace, name);
  if (!claim)
    throw refuse(`failed to fetch PVC from API server: persistentvolumeclaims ${JSON.stringify(name)} not found`);
  if (
    volume.ephemeral &&
    !claim.metadata.ownerReferences?.some(({ uid, controller }) => controller && uid === pod.metadata.uid)
  )
    throw refuse(
      `PVC ${namespace}/${name} was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`,
    );
  // Finalizers keep it as long as a pod uses it; a new user would keep it for ever.
  if (claim.metadata.deletionTimestamp) throw refuse('PVC is being deleted');
  if (claim.status?.phase !== 'Bound' || !claim.spec.volumeName) throw refuse('PVC is not bound');
  const found = await api.volume(claim.spec.volumeName);
  if (!found)
    throw refuse(
      `failed to fetch PV ${claim.spec.volumeName} from API server: persistentvolumes ${JSON.stringify(claim.spec.volumeName)} not found`,
    );
  if (!found.spec.claimRef) throw refuse(`PV ${found.metadata.name} has no claimRef`);
  if (found.spec.claimRef.uid !== claim.metadata.uid)
    throw refuse(
      `PV ${found.metadata.name} spec.claimRef.uid ${found.spec.claimRef.uid} does not match PVC.UID ${claim.metadata.uid}`,
    );
  if (found.spec.volumeMode === 'Block')
    throw refuse(
      `volume ${volume.name} has volumeMode Block, which this node does not offer; use volumeMode Filesystem`,
    );
  return found;
}
