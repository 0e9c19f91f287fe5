import type { PersistentVolume } from '../../../src/kube/types.ts';
import type { ResourceDefinition } from '../../apiserver/definition.ts';
import { ageColumn, column, nameColumn, wideColumn } from '../columns.ts';
import { defineResource } from '../define.ts';
import { canonicalizeResourceList } from '../pod-spec/defaults.ts';
import { describeAccessModes } from './access-modes.ts';
import { protectWith } from './in-use-protection.ts';
import { storageClassOf } from './storage-class-name.ts';
import { validateVolume, validateVolumeUpdate } from './volume-validation.ts';

export const PV_PROTECTION = 'kubernetes.io/pv-protection';

export const persistentVolumes: ResourceDefinition<PersistentVolume> = defineResource<PersistentVolume>(
  {
    kind: 'PersistentVolume',
    plural: 'persistentvolumes',
    shortNames: ['pv'],
    namespaced: false,
    columns: [
      nameColumn,
      column('Capacity', 'string', 'The size of the volume.', ({ spec }) => spec.capacity?.['storage'] ?? '0'),
      column('Access Modes', 'string', 'How the volume can be mounted.', ({ spec }) =>
        describeAccessModes(spec.accessModes),
      ),
      column(
        'Reclaim Policy',
        'string',
        'What becomes of the volume when its claim is gone.',
        ({ spec }) => spec.persistentVolumeReclaimPolicy ?? '',
      ),
      column('Status', 'string', 'The phase of the volume.', ({ metadata, status }) =>
        metadata.deletionTimestamp ? 'Terminating' : (status?.phase ?? ''),
      ),
      column('Claim', 'string', 'The claim that the volume is bound to.', ({ spec }) =>
        spec.claimRef ? `${spec.claimRef.namespace ?? ''}/${spec.claimRef.name ?? ''}` : '',
      ),
      column('StorageClass', 'string', 'The class of the volume.', (volume) => storageClassOf(volume)),
      column(
        'VolumeAttributesClass',
        'string',
        'The attributes that the volume was given.',
        ({ spec }) => spec.volumeAttributesClassName ?? '<unset>',
      ),
      column('Reason', 'string', 'Why the volume is in this phase.', ({ status }) => status?.reason ?? ''),
      ageColumn,
      wideColumn('VolumeMode', 'string', 'File system or block device.', ({ spec }) => spec.volumeMode ?? '<unset>'),
    ],
    applyDefaults(volume) {
      volume.spec ??= {};
      const { spec } = volume;
      spec.persistentVolumeReclaimPolicy ||= 'Retain';
      spec.volumeMode ??= 'Filesystem';
      if (spec.hostPath) spec.hostPath.type ??= '';
      if (spec.capacity) canonicalizeResourceList(spec.capacity);
      volume.status ??= {};
      volume.status.phase ||= 'Pending';
    },
    prepareForCreate: (volume) => protectWith(volume, PV_PROTECTION),
    validate: validateVolume,
    validateUpdate: validateVolumeUpdate,
    hasStatus: true,
    status: {
      prepareForUpdate(volume, old, { nowMs }) {
        if (volume.status && volume.status.phase !== old.status?.phase)
          volume.status.lastPhaseTransitionTime = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
      },
    },
  },
  { initialStatus: () => ({ phase: 'Pending' }) },
);
