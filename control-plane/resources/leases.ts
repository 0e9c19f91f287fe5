import type { Lease } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { type FieldError, invalid } from '../apiserver/field-error.ts';
import { ageColumn, column, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { nonNegative } from './values.ts';

export const leases: ResourceDefinition<Lease> = defineResource<Lease>({
  group: 'coordination.k8s.io',
  kind: 'Lease',
  plural: 'leases',
  columns: [
    nameColumn,
    column('Holder', 'string', 'The identity of the holder of the lease.', (lease) => lease.spec?.holderIdentity ?? ''),
    ageColumn,
  ],
  applyDefaults(lease) {
    lease.spec ??= {};
  },
  validate: validateLease,
  // Two holders must never both believe that their write was the last.
  allowUnconditionalUpdate: false,
  allowCreateOnUpdate: true,
});

function validateLease({ spec }: Lease): FieldError[] {
  const seconds = spec?.leaseDurationSeconds;
  return [
    ...(typeof seconds === 'number' && seconds <= 0
      ? [invalid('spec.leaseDurationSeconds', seconds, 'must be greater than 0')]
      : []),
    ...nonNegative('spec.leaseTransitions', spec?.leaseTransitions),
  ];
}
