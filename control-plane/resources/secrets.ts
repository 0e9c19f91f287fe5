import type { Secret } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { type FieldError, invalid, required, tooLong } from '../apiserver/field-error.ts';
import { ageColumn, column, nameColumn } from './columns.ts';
import { CONFIG_LIMIT_BYTES, validateImmutableConfig } from './configmaps.ts';
import { defineResource } from './define.ts';
import { validateImmutable } from './labels.ts';
import { configKeyProblems, invalidFor } from './values.ts';

export const secrets: ResourceDefinition<Secret> = defineResource<Secret>({
  kind: 'Secret',
  plural: 'secrets',
  columns: [
    nameColumn,
    column('Type', 'string', 'What the secret is for.', (secret) => secret.type ?? ''),
    column('Data', 'string', 'The number of keys.', ({ data }) => Object.keys(data ?? {}).length),
    ageColumn,
  ],
  applyDefaults(secret) {
    secret.type ||= 'Opaque';
    if (!secret.stringData) return;
    // Write-only: what it says goes over what data says.
    for (const [key, value] of Object.entries(secret.stringData))
      secret.data = { ...secret.data, [key]: Buffer.from(value).toString('base64') };
    delete secret.stringData;
  },
  validate: validateSecret,
  validateUpdate: (secret, old) => [
    ...validateImmutable(secret.type, old.type, 'type'),
    ...validateImmutableConfig(secret, old, ['data']),
  ],
  selectableFields: { type: (secret) => secret.type ?? '' },
});

function validateSecret(secret: Secret): FieldError[] {
  const data = secret.data ?? {};
  const errors = Object.keys(data).flatMap((key) => invalidFor(`data[${key}]`, key, configKeyProblems(key)));
  const sizeBytes = Object.values(data).reduce((sum, value) => sum + Buffer.byteLength(value, 'base64'), 0);
  if (sizeBytes > CONFIG_LIMIT_BYTES) errors.push(tooLong('data', CONFIG_LIMIT_BYTES));
  return [...errors, ...validateType(secret, data)];
}

/** The well-known types promise certain keys. */
function validateType(secret: Secret, data: Record<string, string>): FieldError[] {
  const missing = (...keys: string[]) =>
    keys.filter((key) => !Object.hasOwn(data, key)).map((key) => required(`data[${key}]`));
  switch (secret.type) {
    case 'kubernetes.io/service-account-token': {
      const annotation = 'kubernetes.io/service-account.name';
      return secret.metadata.annotations?.[annotation] ? [] : [required(`metadata.annotations[${annotation}]`)];
    }
    case 'kubernetes.io/dockercfg':
      return validateJson(data, '.dockercfg');
    case 'kubernetes.io/dockerconfigjson':
      return validateJson(data, '.dockerconfigjson');
    case 'kubernetes.io/basic-auth': {
      const absent = missing('username', 'password');
      return absent.length === 2 ? absent : [];
    }
    case 'kubernetes.io/ssh-auth':
      return data['ssh-privatekey'] ? [] : [required('data[ssh-privatekey]')];
    case 'kubernetes.io/tls':
      return missing('tls.crt', 'tls.key');
    default:
      return [];
  }
}

function validateJson(data: Record<string, string>, key: string): FieldError[] {
  if (!Object.hasOwn(data, key)) return [required(`data[${key}]`)];
  try {
    const value: unknown = JSON.parse(Buffer.from(data[key]!, 'base64').toString());
    if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('not a JSON object');
    return [];
  } catch (error) {
    return [invalid(`data[${key}]`, '<secret contents redacted>', (error as Error).message)];
  }
}
