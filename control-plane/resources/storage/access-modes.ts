import type { PersistentVolumeAccessMode } from '../../../src/kube/types.ts';
import { type FieldError, forbidden, notSupported, required } from '../../apiserver/field-error.ts';

/** How volumes are mounted by how many: what volumes offer and claims ask for. */

const ACCESS_MODES = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];
const ABBREVIATIONS: readonly (readonly [PersistentVolumeAccessMode, string])[] = [
  ['ReadWriteOnce', 'RWO'],
  ['ReadOnlyMany', 'ROX'],
  ['ReadWriteMany', 'RWX'],
  ['ReadWriteOncePod', 'RWOP'],
];

/** `RWO,ROX`, as kubectl shows them. */
export function describeAccessModes(modes: readonly PersistentVolumeAccessMode[] | undefined): string {
  return ABBREVIATIONS.flatMap(([mode, short]) => (modes?.includes(mode) ? [short] : [])).join(',');
}

export function validateAccessModes(
  modes: readonly PersistentVolumeAccessMode[] | undefined,
  field: string,
  detail = '',
): FieldError[] {
  if (!modes || modes.length === 0) return [required(field, detail)];
  const errors = modes
    .filter((mode) => !ACCESS_MODES.includes(mode))
    .map((mode) => notSupported(field, mode, ACCESS_MODES));
  if (modes.includes('ReadWriteOncePod') && modes.length > 1)
    errors.push(forbidden(field, 'may not use ReadWriteOncePod with other access modes'));
  return errors;
}

const VOLUME_MODES = ['Block', 'Filesystem'];

export function validateVolumeMode(mode: string | undefined, field: string): FieldError[] {
  return mode === undefined || VOLUME_MODES.includes(mode) ? [] : [notSupported(field, mode, VOLUME_MODES)];
}
