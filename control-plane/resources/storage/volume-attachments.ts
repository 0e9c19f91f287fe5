import type { VolumeAttachment } from '../../../src/kube/types.ts';
import type { ResourceDefinition } from '../../apiserver/definition.ts';
import { type FieldError, required } from '../../apiserver/field-error.ts';
import { ageColumn, column, nameColumn } from '../columns.ts';
import { defineResource } from '../define.ts';
import { validateImmutable } from '../labels.ts';
import { validateDriverName } from './driver-name.ts';

export const volumeAttachments: ResourceDefinition<VolumeAttachment> = defineResource<VolumeAttachment>(
  {
    group: 'storage.k8s.io',
    kind: 'VolumeAttachment',
    plural: 'volumeattachments',
    namespaced: false,
    columns: [
      nameColumn,
      column('Attacher', 'string', 'The driver that attaches the volume.', ({ spec }) => spec.attacher),
      column('PV', 'string', 'The volume.', ({ spec }) => spec.source?.persistentVolumeName ?? ''),
      column('Node', 'string', 'The node that the volume is for.', ({ spec }) => spec.nodeName),
      column('Attached', 'boolean', 'Whether the volume is there.', ({ status }) => status?.attached ?? false),
      ageColumn,
    ],
    applyDefaults(attachment) {
      attachment.spec ??= {} as VolumeAttachment['spec'];
      attachment.status ??= { attached: false };
      attachment.status.attached ??= false;
    },
    validate: validateAttachment,
    validateUpdate: (attachment, old) => validateImmutable(attachment.spec, old.spec, 'spec'),
    hasStatus: true,
  },
  { initialStatus: () => ({ attached: false }) },
);

function validateAttachment({ spec }: VolumeAttachment): FieldError[] {
  const errors = validateDriverName(spec.attacher, 'spec.attacher');
  if (!spec.nodeName) errors.push(required('spec.nodeName'));
  const { persistentVolumeName, inlineVolumeSpec } = spec.source ?? {};
  if (persistentVolumeName === undefined && inlineVolumeSpec === undefined)
    errors.push(required('spec.source', 'must specify exactly one of inlineVolumeSpec and persistentVolumeName'));
  else if (persistentVolumeName === '')
    errors.push(required('spec.source.persistentVolumeName', 'must specify non empty persistentVolumeName'));
  return errors;
}
