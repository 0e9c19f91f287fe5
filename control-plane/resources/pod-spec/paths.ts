import { type FieldError, invalid } from '../../apiserver/field-error.ts';

/** Paths inside of volumes. */

/** No `..` element. */
export function validateNoBacksteps(path: string, field: string): FieldError[] {
  return path.split('/').includes('..') ? [invalid(field, path, "must not contain '..'")] : [];
}

/** Relative, no `..` element. */
export function validateDescendingPath(path: string, field: string): FieldError[] {
  return [
    ...(path.startsWith('/') ? [invalid(field, path, 'must be a relative path')] : []),
    ...validateNoBacksteps(path, field),
  ];
}

/** Relative, no `..` element and no name that starts with `..`: those belong to the atomic writer on the node. */
export function validateUserPath(path: string, field: string): FieldError[] {
  const errors = validateDescendingPath(path, field);
  if (path.startsWith('..') && path !== '..' && !path.startsWith('../'))
    errors.push(invalid(field, path, "must not start with '..'"));
  return errors;
}

export function validateFileMode(mode: number | undefined | null, field: string): FieldError[] {
  return mode !== undefined && mode !== null && (mode < 0 || mode > 0o777)
    ? [invalid(field, mode, 'must be a number between 0 and 0777 (octal), both inclusive')]
    : [];
}
