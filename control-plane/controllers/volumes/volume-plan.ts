import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/types.ts';
import { BOUND_BY_CONTROLLER, PROVISIONED_BY } from '../../volumes/annotations.ts';
import { type BindingPlan, hasAnnotation, withoutReference, withPhase } from './binding-plan.ts';

/** A volume's plan may also end in its removal, data and all. */
export interface VolumePlan extends BindingPlan {
  /** Absolute path of a hostPath volume that is to be removed, and the volume after it. */
  readonly deleteHostPath?: string;
}

/**
 * The next step for a volume (upstream's syncVolume). `claim` is the live object of the name that the volume refers to,
 * whatever its UID. Pure.
 */
export function planVolume(volume: PersistentVolume, claim: PersistentVolumeClaim | undefined): VolumePlan {
  const { claimRef } = volume.spec;
  // Reserved for a claim that is yet to come.
  if (!claimRef?.uid) return phase(volume, 'Available');
  if (!claim || claim.metadata.uid !== claimRef.uid) return planReleased(volume);
  // The claim's own plan goes on from here.
  if (!claim.spec.volumeName) return {};
  if (claim.spec.volumeName === volume.metadata.name) return phase(volume, 'Bound');
  // The claim took another volume.
  if (hasAnnotation(volume, PROVISIONED_BY) && volume.spec.persistentVolumeReclaimPolicy === 'Delete')
    return planReleased(volume);
  if (hasAnnotation(volume, BOUND_BY_CONTROLLER)) return { write: { to: 'volume', object: withoutReference(volume) } };
  const { uid: _, resourceVersion: __, ...reserved } = claimRef;
  return { write: { to: 'volume', object: { ...volume, spec: { ...volume.spec, claimRef: reserved } } } };
}

function phase(volume: PersistentVolume, wanted: 'Available' | 'Bound' | 'Released'): VolumePlan {
  return volume.status?.phase === wanted ? {} : { write: { to: 'volumeStatus', object: withPhase(volume, wanted) } };
}

/** The claim is gone: what becomes of volume and data is the reclaim policy's. */
function planReleased(volume: PersistentVolume): VolumePlan {
  const current = volume.status?.phase;
  if (current !== 'Released' && current !== 'Failed') return phase(volume, 'Released');
  if (volume.metadata.deletionTimestamp) return {};
  const { persistentVolumeReclaimPolicy: policy, hostPath } = volume.spec;
  if (policy === 'Delete') {
    // Whoever made it deletes it.
    if (hasAnnotation(volume, PROVISIONED_BY)) return {};
    if (hostPath) return { deleteHostPath: hostPath.path };
    const { name } = volume.metadata;
    return failed(
      volume,
      'VolumeFailedDelete',
      `error getting deleter volume plugin for volume ${JSON.stringify(name)}: no deletable volume plugin matched`,
    );
  }
  // Recycling is deprecated upstream, and here it never was.
  if (policy === 'Recycle') return failed(volume, 'VolumeFailedRecycle', 'No recycler plugin found for the volume!');
  return {};
}

/** The phase Failed, once. */
export function failed(volume: PersistentVolume, reason: string, message: string): VolumePlan {
  if (volume.status?.phase === 'Failed' && volume.status.message === message) return {};
  return {
    write: { to: 'volumeStatus', object: withPhase(volume, 'Failed', message) },
    note: { type: 'Warning', reason, message },
  };
}
