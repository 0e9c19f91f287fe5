import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../../src/kube/types.ts';
import { defaultClass } from '../../resources/storage/default-storage-class.ts';
import { leavesClassOpen, storageClassOf } from '../../resources/storage/storage-class-name.ts';
import {
  BIND_COMPLETED,
  BOUND_BY_CONTROLLER,
  SELECTED_NODE,
  STORAGE_PROVISIONER,
  STORAGE_PROVISIONER_BETA,
} from '../../volumes/annotations.ts';
import { findVolume, isReservedFor, whyUnsuitable } from '../../volumes/match.ts';
import { type BindingNote, type BindingPlan, hasAnnotation, planBinding } from './binding-plan.ts';

/** What a claim's plan is made from. */
export interface ClaimView {
  readonly volumes: readonly PersistentVolume[];
  readonly classes: readonly StorageClass[];
  /** Names of pods without a node that use the claim. */
  readonly waitingPods: readonly string[];
}

const warning = (reason: string, message: string): BindingNote => ({ type: 'Warning', reason, message });
const normal = (reason: string, message: string): BindingNote => ({ type: 'Normal', reason, message });

/** The next step for a claim (upstream's syncClaim). Pure. */
export function planClaim(claim: PersistentVolumeClaim, view: ClaimView): BindingPlan {
  if (hasAnnotation(claim, BIND_COMPLETED)) return planBoundClaim(claim, view);
  // Nothing new is given to what is on its way out.
  if (claim.metadata.deletionTimestamp) return {};
  const chosen = leavesClassOpen(claim) ? defaultClass(view.classes) : undefined;
  if (chosen && !claim.spec.volumeName) {
    const spec = { ...claim.spec, storageClassName: chosen.metadata.name };
    return { write: { to: 'claim', object: { ...claim, spec } } };
  }
  return claim.spec.volumeName ? planNamedVolume(claim, view) : planSearch(claim, view);
}

function planSearch(claim: PersistentVolumeClaim, view: ClaimView): BindingPlan {
  const className = storageClassOf(claim);
  const storageClass = view.classes.find(({ metadata }) => metadata.name === className);
  const mustWait = storageClass?.volumeBindingMode === 'WaitForFirstConsumer' && !hasAnnotation(claim, SELECTED_NODE);
  const volume = findVolume(claim, view.volumes, { reservedOnly: mustWait });
  if (volume) return planBinding(claim, volume);
  if (mustWait) return { note: waitNote(view.waitingPods) };
  if (className === '')
    return pending(
      claim,
      normal('FailedBinding', 'no persistent volumes available for this claim and no storage class is set'),
    );
  if (!storageClass)
    return pending(
      claim,
      warning('ProvisioningFailed', `storageclass.storage.k8s.io ${JSON.stringify(className)} not found`),
    );
  return planProvisioning(claim, storageClass);
}

function waitNote(waitingPods: readonly string[]): BindingNote {
  return waitingPods.length === 0
    ? normal('WaitForFirstConsumer', 'waiting for first consumer to be created before binding')
    : normal('WaitForPodScheduled', `waiting for pod ${waitingPods.join(',')} to be scheduled`);
}

/** Volumes are made by the programs that classes name; here is only said which one. */
function planProvisioning(claim: PersistentVolumeClaim, { provisioner }: StorageClass): BindingPlan {
  // No plugin of Kubernetes' own makes volumes any more; kubernetes.io/no-provisioner says that people do.
  if (provisioner.startsWith('kubernetes.io/'))
    return pending(claim, warning('ProvisioningFailed', `no volume plugin matched name: ${provisioner}`));
  const annotations = claim.metadata.annotations ?? {};
  if (annotations[STORAGE_PROVISIONER] !== provisioner || annotations[STORAGE_PROVISIONER_BETA] !== provisioner) {
    const wanted = { ...annotations, [STORAGE_PROVISIONER]: provisioner, [STORAGE_PROVISIONER_BETA]: provisioner };
    return { write: { to: 'claim', object: { ...claim, metadata: { ...claim.metadata, annotations: wanted } } } };
  }
  return pending(
    claim,
    normal(
      'ExternalProvisioning',
      `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.`,
    ),
  );
}

/** The claim says which volume it wants. */
function planNamedVolume(claim: PersistentVolumeClaim, { volumes }: ClaimView): BindingPlan {
  const volume = volumes.find(({ metadata }) => metadata.name === claim.spec.volumeName);
  if (!volume) return pending(claim);
  if (volume.spec.claimRef && !isReservedFor(volume, claim))
    return pending(
      claim,
      hasAnnotation(claim, BOUND_BY_CONTROLLER)
        ? undefined
        : warning(
            'FailedBinding',
            `volume ${JSON.stringify(volume.metadata.name)} already bound to a different claim.`,
          ),
    );
  const why = whyUnsuitable(volume, claim);
  if (why && !volume.spec.claimRef)
    return pending(
      claim,
      warning('VolumeMismatch', `Cannot bind to requested volume ${JSON.stringify(volume.metadata.name)}: ${why}`),
    );
  return planBinding(claim, volume);
}

/** A claim that had its volume either still has it or has lost it for good. */
function planBoundClaim(claim: PersistentVolumeClaim, { volumes }: ClaimView): BindingPlan {
  const { volumeName } = claim.spec;
  if (!volumeName)
    return lost(claim, 'ClaimLost', 'Bound claim has lost reference to PersistentVolume. Data on the volume is lost!');
  const volume = volumes.find(({ metadata }) => metadata.name === volumeName);
  if (!volume)
    return lost(claim, 'ClaimLost', 'Bound claim has lost its PersistentVolume. Data on the volume is lost!');
  if (volume.spec.claimRef && volume.spec.claimRef.uid !== claim.metadata.uid && !isReservedFor(volume, claim))
    return lost(claim, 'ClaimMisbound', 'Two claims are bound to the same volume, this one is bound incorrectly');
  return planBinding(claim, volume);
}

function lost(claim: PersistentVolumeClaim, reason: string, message: string): BindingPlan {
  if (claim.status?.phase === 'Lost') return {};
  return {
    write: { to: 'claimStatus', object: { ...claim, status: { phase: 'Lost' } } },
    note: warning(reason, message),
  };
}

/** Nothing can be done now; said once the phase tells so too. */
function pending(claim: PersistentVolumeClaim, note?: BindingNote): BindingPlan {
  if (claim.status?.phase !== 'Pending')
    return { write: { to: 'claimStatus', object: { ...claim, status: { phase: 'Pending' } } } };
  return note ? { note } : {};
}
