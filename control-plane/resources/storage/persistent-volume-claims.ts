import { compareQuantities } from '../../../src/kube/quantity.ts';
import type { PersistentVolumeClaim, StorageClass } from '../../../src/kube/types.ts';
import type { ResourceDefinition, StrategyContext } from '../../apiserver/definition.ts';
import { forbidden } from '../../apiserver/status-error.ts';
import { ageColumn, column, nameColumn, wideColumn } from '../columns.ts';
import { defineResource } from '../define.ts';
import { applyClaimSpecDefaults, canonicalizeResourceList } from '../pod-spec/defaults.ts';
import { describeAccessModes } from './access-modes.ts';
import { validateClaim, validateClaimUpdate } from './claim-validation.ts';
import { defaultClass } from './default-storage-class.ts';
import { protectWith } from './in-use-protection.ts';
import { leavesClassOpen, storageClassOf } from './storage-class-name.ts';

export const PVC_PROTECTION = 'kubernetes.io/pvc-protection';
const CLASSES = { group: 'storage.k8s.io', plural: 'storageclasses' };
const NAMES = { group: '', plural: 'persistentvolumeclaims', kind: 'PersistentVolumeClaim' };

export const persistentVolumeClaims: ResourceDefinition<PersistentVolumeClaim> = defineResource<PersistentVolumeClaim>(
  {
    kind: 'PersistentVolumeClaim',
    plural: 'persistentvolumeclaims',
    shortNames: ['pvc'],
    columns: [
      nameColumn,
      column('Status', 'string', 'The phase of the claim.', ({ metadata, status }) =>
        metadata.deletionTimestamp ? 'Terminating' : (status?.phase ?? ''),
      ),
      column('Volume', 'string', 'The volume behind the claim.', ({ spec }) => spec.volumeName ?? ''),
      column('Capacity', 'string', 'The size of the volume.', ({ spec, status }) =>
        spec.volumeName ? (status?.capacity?.['storage'] ?? '0') : '',
      ),
      column('Access Modes', 'string', 'How the volume can be mounted.', ({ spec, status }) =>
        spec.volumeName ? describeAccessModes(status?.accessModes) : '',
      ),
      column('StorageClass', 'string', 'The class that the claim asks for.', (claim) => storageClassOf(claim)),
      column(
        'VolumeAttributesClass',
        'string',
        'The attributes that the claim asks for.',
        ({ spec }) => spec.volumeAttributesClassName ?? '<unset>',
      ),
      ageColumn,
      wideColumn('VolumeMode', 'string', 'File system or block device.', ({ spec }) => spec.volumeMode ?? '<unset>'),
    ],
    applyDefaults(claim) {
      claim.spec ??= {};
      applyClaimSpecDefaults(claim.spec);
      claim.status ??= {};
      claim.status.phase ||= 'Pending';
      if (claim.status.capacity) canonicalizeResourceList(claim.status.capacity);
    },
    async prepareForCreate(claim, context) {
      protectWith(claim, PVC_PROTECTION);
      if (!leavesClassOpen(claim)) return;
      const chosen = defaultClass(await context.objects.list<StorageClass>(CLASSES, ''));
      if (chosen) claim.spec.storageClassName = chosen.metadata.name;
    },
    prepareForUpdate: refuseResize,
    validate: (claim) => validateClaim(claim.spec, 'spec'),
    validateUpdate: validateClaimUpdate,
    hasStatus: true,
  },
  { initialStatus: () => ({ phase: 'Pending' }) },
);

/** PersistentVolumeClaimResize: only where the class says that its volumes can grow. */
async function refuseResize(
  claim: PersistentVolumeClaim,
  old: PersistentVolumeClaim,
  { objects }: StrategyContext,
): Promise<void> {
  const wanted = claim.spec.resources?.requests?.['storage'];
  const before = old.spec.resources?.requests?.['storage'];
  // The spec of a claim that is not bound is immutable: validation says so.
  if (!wanted || !before || old.status?.phase !== 'Bound' || compareQuantities(wanted, before) <= 0) return;
  const name = storageClassOf(claim);
  const found = name ? await objects.get<StorageClass>(CLASSES, '', name) : undefined;
  if (!found?.allowVolumeExpansion)
    throw forbidden(
      NAMES,
      claim.metadata.name,
      'only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize',
    );
}
