import type {
  ObjectReference,
  PersistentVolume,
  PersistentVolumeClaim,
  PersistentVolumePhase,
} from '../../../src/kube/types.ts';
import { semanticEqual } from '../../resources/equality.ts';
import { BIND_COMPLETED, BOUND_BY_CONTROLLER } from '../../volumes/annotations.ts';
import { capacityOf } from '../../volumes/match.ts';

/** One write of the binder. Each is decided on what the one before was answered with, so that a lost race is seen. */
export type BindingWrite =
  | { readonly to: 'volume' | 'volumeStatus'; readonly object: PersistentVolume }
  | { readonly to: 'claim' | 'claimStatus'; readonly object: PersistentVolumeClaim };

/** An event about the object that is planned for. */
export interface BindingNote {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** What comes next for a claim or a volume; nothing: it is as it should be. */
export interface BindingPlan {
  readonly write?: BindingWrite;
  readonly note?: BindingNote;
}

/** The next step that makes the two one: volume's reference, volume's phase, claim's volume, claim's phase. */
export function planBinding(claim: PersistentVolumeClaim, volume: PersistentVolume): BindingPlan {
  if (volume.spec.claimRef?.uid !== claim.metadata.uid)
    return { write: { to: 'volume', object: withReference(volume, claim) } };
  if (volume.status?.phase !== 'Bound') return { write: { to: 'volumeStatus', object: withPhase(volume, 'Bound') } };
  if (claim.spec.volumeName !== volume.metadata.name || !hasAnnotation(claim, BIND_COMPLETED))
    return { write: { to: 'claim', object: withVolume(claim, volume) } };
  const bound = withBoundStatus(claim, volume);
  return semanticEqual(bound.status, claim.status) ? {} : { write: { to: 'claimStatus', object: bound } };
}

export function hasAnnotation({ metadata }: PersistentVolume | PersistentVolumeClaim, name: string): boolean {
  return metadata.annotations?.[name] !== undefined;
}

/** The volume with a reference to the claim; marked when nobody had reserved it for the claim before. */
export function withReference(volume: PersistentVolume, claim: PersistentVolumeClaim): PersistentVolume {
  const claimRef: ObjectReference = {
    kind: 'PersistentVolumeClaim',
    apiVersion: 'v1',
    namespace: claim.metadata.namespace!,
    name: claim.metadata.name,
    uid: claim.metadata.uid,
    resourceVersion: claim.metadata.resourceVersion,
  };
  return {
    ...volume,
    metadata: volume.spec.claimRef ? volume.metadata : annotated(volume.metadata, BOUND_BY_CONTROLLER),
    spec: { ...volume.spec, claimRef },
  };
}

/** The volume as nobody's. */
export function withoutReference(volume: PersistentVolume): PersistentVolume {
  const { claimRef: _, ...spec } = volume.spec;
  const { [BOUND_BY_CONTROLLER]: __, ...annotations } = volume.metadata.annotations ?? {};
  return { ...volume, metadata: { ...volume.metadata, annotations }, spec };
}

export function withPhase(volume: PersistentVolume, phase: PersistentVolumePhase, message?: string): PersistentVolume {
  const { lastPhaseTransitionTime } = volume.status ?? {};
  return {
    ...volume,
    status: { ...(lastPhaseTransitionTime && { lastPhaseTransitionTime }), phase, ...(message && { message }) },
  };
}

function withVolume(claim: PersistentVolumeClaim, volume: PersistentVolume): PersistentVolumeClaim {
  const isOurChoice = claim.spec.volumeName !== volume.metadata.name;
  const metadata = annotated(claim.metadata, BIND_COMPLETED);
  return {
    ...claim,
    metadata: isOurChoice ? annotated(metadata, BOUND_BY_CONTROLLER) : metadata,
    spec: { ...claim.spec, volumeName: volume.metadata.name },
  };
}

function withBoundStatus(claim: PersistentVolumeClaim, volume: PersistentVolume): PersistentVolumeClaim {
  const { conditions } = claim.status ?? {};
  return {
    ...claim,
    status: {
      ...(conditions && { conditions }),
      phase: 'Bound',
      accessModes: volume.spec.accessModes ?? [],
      // Once set it is the resizer's: a volume may be larger than the file system on it.
      capacity:
        claim.status?.phase === 'Bound' && claim.status.capacity
          ? claim.status.capacity
          : { storage: capacityOf(volume) },
    },
  };
}

function annotated<T extends { annotations?: Record<string, string> }>(metadata: T, name: string): T {
  return { ...metadata, annotations: { ...metadata.annotations, [name]: 'yes' } };
}
