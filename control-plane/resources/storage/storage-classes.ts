import type { StorageClass } from '../../../src/kube/types.ts';
import type { ResourceDefinition } from '../../apiserver/definition.ts';
import { type FieldError, forbidden, notSupported, required } from '../../apiserver/field-error.ts';
import { ageColumn, column, nameColumn } from '../columns.ts';
import { defineResource } from '../define.ts';
import { semanticEqual } from '../equality.ts';
import { validateImmutable, validateLabelKey } from '../labels.ts';
import { isDefaultClass } from './default-storage-class.ts';

const RECLAIM_POLICIES = ['Delete', 'Retain'];
const BINDING_MODES = ['Immediate', 'WaitForFirstConsumer'];

export const storageClasses: ResourceDefinition<StorageClass> = defineResource<StorageClass>({
  group: 'storage.k8s.io',
  kind: 'StorageClass',
  plural: 'storageclasses',
  shortNames: ['sc'],
  namespaced: false,
  columns: [
    {
      ...nameColumn,
      cell: (found: StorageClass) => found.metadata.name + (isDefaultClass(found) ? ' (default)' : ''),
    },
    column('Provisioner', 'string', 'Who makes volumes of this class.', ({ provisioner }) => provisioner),
    column(
      'ReclaimPolicy',
      'string',
      'What becomes of volumes when their claim is gone.',
      ({ reclaimPolicy }) => reclaimPolicy ?? 'Delete',
    ),
    column(
      'VolumeBindingMode',
      'string',
      'When claims are bound.',
      ({ volumeBindingMode }) => volumeBindingMode ?? 'Immediate',
    ),
    column(
      'AllowVolumeExpansion',
      'boolean',
      'Whether volumes can grow.',
      ({ allowVolumeExpansion }) => allowVolumeExpansion ?? false,
    ),
    ageColumn,
  ],
  applyDefaults(found) {
    found.reclaimPolicy ||= 'Delete';
    found.volumeBindingMode ||= 'Immediate';
  },
  validate: validateClass,
  validateUpdate: validateClassUpdate,
});

function validateClass({ provisioner, parameters, reclaimPolicy, volumeBindingMode }: StorageClass): FieldError[] {
  const errors: FieldError[] = provisioner
    ? validateLabelKey(provisioner.toLowerCase(), 'provisioner')
    : [required('provisioner')];
  for (const key of Object.keys(parameters ?? {})) if (key === '') errors.push(required('parameters'));
  if (!RECLAIM_POLICIES.includes(reclaimPolicy ?? ''))
    errors.push(notSupported('reclaimPolicy', reclaimPolicy, RECLAIM_POLICIES));
  if (!BINDING_MODES.includes(volumeBindingMode ?? ''))
    errors.push(notSupported('volumeBindingMode', volumeBindingMode, BINDING_MODES));
  return errors;
}

function validateClassUpdate(found: StorageClass, old: StorageClass): FieldError[] {
  return [
    ...(['parameters', 'provisioner', 'reclaimPolicy'] as const)
      .filter((field) => !semanticEqual(found[field], old[field]))
      .map((field) => forbidden(field, `updates to ${field} are forbidden.`)),
    ...validateImmutable(found.volumeBindingMode, old.volumeBindingMode, 'volumeBindingMode'),
  ];
}
