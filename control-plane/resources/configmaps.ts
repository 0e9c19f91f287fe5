import type { ConfigMap } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { type FieldError, forbidden, invalid, tooLong } from '../apiserver/field-error.ts';
import { ageColumn, column, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { semanticEqual } from './equality.ts';
import { configKeyProblems, invalidFor } from './values.ts';

/** Of a ConfigMap and of a Secret. */
export const CONFIG_LIMIT_BYTES = 1024 * 1024;

export const configMaps: ResourceDefinition<ConfigMap> = defineResource<ConfigMap>({
  kind: 'ConfigMap',
  plural: 'configmaps',
  shortNames: ['cm'],
  columns: [
    nameColumn,
    column(
      'Data',
      'string',
      'The number of keys.',
      ({ data, binaryData }) => Object.keys(data ?? {}).length + Object.keys(binaryData ?? {}).length,
    ),
    ageColumn,
  ],
  validate: validateConfigMap,
  validateUpdate: (object, old) => validateImmutableConfig(object, old, ['data', 'binaryData']),
});

function validateConfigMap({ data = {}, binaryData = {} }: ConfigMap): FieldError[] {
  const errors: FieldError[] = [];
  let sizeBytes = 0;
  for (const [key, value] of Object.entries(data)) {
    errors.push(...invalidFor(`data[${key}]`, key, configKeyProblems(key)));
    if (Object.hasOwn(binaryData, key))
      errors.push(invalid(`data[${key}]`, key, 'duplicate of key present in binaryData'));
    sizeBytes += Buffer.byteLength(value);
  }
  for (const [key, value] of Object.entries(binaryData)) {
    errors.push(...invalidFor(`binaryData[${key}]`, key, configKeyProblems(key)));
    sizeBytes += Buffer.byteLength(value, 'base64');
  }
  // An empty path: the object as a whole.
  if (sizeBytes > CONFIG_LIMIT_BYTES) errors.push(tooLong('', CONFIG_LIMIT_BYTES));
  return errors;
}

/** `immutable: true` can't be taken back, and pins the data. */
export function validateImmutableConfig<T extends { immutable?: boolean }>(
  object: T,
  old: T,
  fields: readonly (keyof T & string)[],
): FieldError[] {
  if (!old.immutable) return [];
  const why = 'field is immutable when `immutable` is set';
  return [
    ...(object.immutable ? [] : [forbidden('immutable', why)]),
    ...fields.filter((field) => !semanticEqual(object[field], old[field])).map((field) => forbidden(field, why)),
  ];
}
