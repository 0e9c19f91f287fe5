import { compareQuantities, parseQuantity } from '../../../src/kube/quantity.ts';
import type { PersistentVolumeClaim, PersistentVolumeClaimSpec } from '../../../src/kube/types.ts';
import { type FieldError, forbidden, invalid, required } from '../../apiserver/field-error.ts';
import { subdomainName } from '../../apiserver/names.ts';
import { semanticEqual } from '../equality.ts';
import { validateImmutable, validateLabelSelector } from '../labels.ts';
import { invalidFor } from '../values.ts';
import { validateAccessModes, validateVolumeMode } from './access-modes.ts';

/** PersistentVolumeClaims and the claims that pods carry as templates (upstream's ValidatePersistentVolumeClaimSpec and …Update). */

export function validateClaim(spec: PersistentVolumeClaimSpec, field: string): FieldError[] {
  const errors = validateAccessModes(spec.accessModes, `${field}.accessModes`, 'at least 1 access mode is required');
  errors.push(...validateLabelSelector(spec.selector, `${field}.selector`));
  const size = spec.resources?.requests?.['storage'];
  if (size === undefined) errors.push(required(`${field}.resources[storage]`));
  else if (parseQuantity(size).nano <= 0n)
    errors.push(invalid(`${field}.resources[storage]`, size, 'must be greater than zero'));
  if (spec.storageClassName)
    errors.push(
      ...invalidFor(`${field}.storageClassName`, spec.storageClassName, subdomainName(spec.storageClassName)),
    );
  errors.push(...validateVolumeMode(spec.volumeMode, `${field}.volumeMode`));
  return errors;
}

const IMMUTABLE =
  'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims';

export function validateClaimUpdate(claim: PersistentVolumeClaim, old: PersistentVolumeClaim): FieldError[] {
  const errors: FieldError[] = [];
  const before = structuredClone(old.spec);
  const after = structuredClone(claim.spec);
  // The binder's, once; and a class that was left open is filled in when there is a default one at last.
  if (!before.volumeName) before.volumeName = after.volumeName;
  before.storageClassName ??= after.storageClassName;
  before.volumeAttributesClassName = after.volumeAttributesClassName;
  if (old.status?.phase === 'Bound') {
    const size = after.resources?.requests?.['storage'];
    const capacity = old.status.capacity?.['storage'];
    if (before.resources?.requests && size !== undefined) before.resources.requests['storage'] = size;
    if (size !== undefined && capacity !== undefined && isShrunk(old, size) && compareQuantities(size, capacity) < 0)
      errors.push(forbidden('spec.resources.requests.storage', 'field can not be less than status.capacity'));
  }
  if (!semanticEqual(after, before)) errors.push(forbidden('spec', IMMUTABLE));
  errors.push(...validateImmutable(claim.spec.volumeMode, old.spec.volumeMode, 'spec.volumeMode'));
  return errors;
}

function isShrunk(old: PersistentVolumeClaim, size: string): boolean {
  const before = old.spec.resources?.requests?.['storage'];
  return before !== undefined && compareQuantities(size, before) < 0;
}
