import type { CSIDriver } from '../../../src/kube/types.ts';
import type { ResourceDefinition } from '../../apiserver/definition.ts';
import { duplicate, type FieldError, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { specChanged } from '../../apiserver/strategy.ts';
import { ageColumn, column, nameColumn } from '../columns.ts';
import { defineResource } from '../define.ts';
import { validateImmutable } from '../labels.ts';
import { validateDriverName } from './driver-name.ts';

const FS_GROUP_POLICIES = ['File', 'None', 'ReadWriteOnceWithFSType'];
const LIFECYCLE_MODES = ['Ephemeral', 'Persistent'];
const SHORTEST_TOKEN_SECONDS = 600;

export const csiDrivers: ResourceDefinition<CSIDriver> = defineResource<CSIDriver>({
  group: 'storage.k8s.io',
  kind: 'CSIDriver',
  plural: 'csidrivers',
  namespaced: false,
  columns: [
    nameColumn,
    column(
      'AttachRequired',
      'boolean',
      'Whether volumes are attached to nodes.',
      ({ spec }) => spec.attachRequired ?? true,
    ),
    column(
      'PodInfoOnMount',
      'boolean',
      'Whether the driver is told of the pod.',
      ({ spec }) => spec.podInfoOnMount ?? false,
    ),
    column(
      'StorageCapacity',
      'boolean',
      'Whether the driver publishes what is free.',
      ({ spec }) => spec.storageCapacity ?? false,
    ),
    column('TokenRequests', 'string', 'Audiences of the tokens that the driver gets.', describeAudiences),
    column(
      'RequiresRepublish',
      'boolean',
      'Whether volumes are published again and again.',
      ({ spec }) => spec.requiresRepublish ?? false,
    ),
    column('Modes', 'string', 'Kinds of volumes that the driver has.', ({ spec }) =>
      (spec.volumeLifecycleModes ?? []).join(','),
    ),
    ageColumn,
  ],
  applyDefaults(driver) {
    driver.spec ??= {};
    const { spec } = driver;
    spec.attachRequired ??= true;
    spec.podInfoOnMount ??= false;
    spec.storageCapacity ??= false;
    spec.fsGroupPolicy ??= 'ReadWriteOnceWithFSType';
    spec.requiresRepublish ??= false;
    spec.seLinuxMount ??= false;
    if ((spec.volumeLifecycleModes ?? []).length === 0) spec.volumeLifecycleModes = ['Persistent'];
  },
  validate: ({ metadata, spec }) => [
    ...validateDriverName(metadata.name, 'metadata.name'),
    ...(FS_GROUP_POLICIES.includes(spec.fsGroupPolicy ?? '')
      ? []
      : [notSupported('spec.fsGroupPolicy', spec.fsGroupPolicy, FS_GROUP_POLICIES)]),
    ...(spec.volumeLifecycleModes ?? [])
      .filter((mode) => !LIFECYCLE_MODES.includes(mode))
      .map((mode) => notSupported('spec.volumeLifecycleModes', mode, LIFECYCLE_MODES)),
    ...validateTokenRequests(spec.tokenRequests),
  ],
  validateUpdate: ({ spec }, old) => [
    ...validateImmutable(spec.attachRequired, old.spec.attachRequired, 'spec.attachedRequired'),
    ...validateImmutable(spec.volumeLifecycleModes, old.spec.volumeLifecycleModes, 'spec.volumeLifecycleModes'),
  ],
  generationChanged: specChanged,
});

function describeAudiences({ spec }: CSIDriver): string {
  const audiences = (spec.tokenRequests ?? []).map(({ audience }) => audience);
  return audiences.length === 0 ? '<unset>' : audiences.join(',');
}

function validateTokenRequests(requests: CSIDriver['spec']['tokenRequests']): FieldError[] {
  const seen = new Set<string>();
  return (requests ?? []).flatMap(({ audience, expirationSeconds }, index) => {
    const at = `spec.tokenRequests[${index}]`;
    const errors: FieldError[] = [];
    if (seen.has(audience)) errors.push(duplicate(`${at}.audience`, audience));
    seen.add(audience);
    if (audience === undefined) errors.push(required(`${at}.audience`));
    if (typeof expirationSeconds === 'number' && expirationSeconds < SHORTEST_TOKEN_SECONDS)
      errors.push(
        invalid(`${at}.expirationSeconds`, expirationSeconds, 'may not specify a duration less than 10 minutes'),
      );
    return errors;
  });
}
