import { canonicalQuantity } from '../../../src/kube/quantity.ts';
import type { EnvFromSource, EnvVar, ObjectFieldSelector, ResourceFieldSelector } from '../../../src/kube/types.ts';
import { type FieldError, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { labelKeyProblems } from '../../apiserver/labels.ts';
import { subdomainName } from '../../apiserver/names.ts';
import { configKeyProblems, envNameProblems, invalidFor } from '../values.ts';

/** Environment of containers and the downward API's references (also of volumes). */

/** Fields that a variable may take; volumes have other ones. */
const ENV_FIELDS = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
];

const RESOURCE_FIELDS = [
  'limits.cpu',
  'limits.ephemeral-storage',
  'limits.memory',
  'requests.cpu',
  'requests.ephemeral-storage',
  'requests.memory',
];

/** All fields that the downward API knows; which of them fits depends on the place. */
const DOWNWARD_FIELDS = new Set([...ENV_FIELDS, 'metadata.labels', 'metadata.annotations']);

export function validateEnv(variables: readonly EnvVar[] | undefined, field: string): FieldError[] {
  return (variables ?? []).flatMap((variable, index) => {
    const at = `${field}[${index}]`;
    return [
      ...(variable.name
        ? invalidFor(`${at}.name`, variable.name, envNameProblems(variable.name))
        : [required(`${at}.name`)]),
      ...validateValueFrom(variable, `${at}.valueFrom`),
    ];
  });
}

function validateValueFrom(variable: EnvVar, field: string): FieldError[] {
  const from = variable.valueFrom;
  if (!from) return [];
  const errors: FieldError[] = [];
  let sources = 0;
  if (from.fieldRef) {
    sources++;
    errors.push(...validateFieldRef(from.fieldRef, ENV_FIELDS, `${field}.fieldRef`));
  }
  if (from.resourceFieldRef) {
    sources++;
    errors.push(...validateResourceFieldRef(from.resourceFieldRef, `${field}.resourceFieldRef`, false));
  }
  if (from.configMapKeyRef) {
    sources++;
    errors.push(...validateKeyRef(from.configMapKeyRef, `${field}.configMapKeyRef`));
  }
  if (from.secretKeyRef) {
    sources++;
    errors.push(...validateKeyRef(from.secretKeyRef, `${field}.secretKeyRef`));
  }
  if (from.fileKeyRef) sources++;
  if (sources === 0)
    errors.push(
      invalid(field, '', 'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`'),
    );
  else if (variable.value) errors.push(invalid(field, '', 'may not be specified when `value` is not empty'));
  else if (sources > 1) errors.push(invalid(field, '', 'may not have more than one field specified at a time'));
  return errors;
}

function validateKeyRef(reference: { name?: string; key: string }, field: string): FieldError[] {
  return [
    ...invalidFor(`${field}.name`, reference.name ?? '', subdomainName(reference.name ?? '')),
    ...(reference.key
      ? invalidFor(`${field}.key`, reference.key, configKeyProblems(reference.key))
      : [required(`${field}.key`)]),
  ];
}

/** `allowed` is sorted: the message lists it. */
export function validateFieldRef(
  reference: ObjectFieldSelector,
  allowed: readonly string[],
  field: string,
): FieldError[] {
  if (!reference.apiVersion) return [required(`${field}.apiVersion`)];
  if (!reference.fieldPath) return [required(`${field}.fieldPath`)];
  const subscripted = /^([^[]*)\['(.*)'\]$/.exec(reference.fieldPath);
  const path = subscripted?.[1] ?? reference.fieldPath;
  if (reference.apiVersion !== 'v1' || !DOWNWARD_FIELDS.has(path)) {
    const why =
      reference.apiVersion === 'v1'
        ? `field label not supported: ${path}`
        : `unsupported pod version: ${reference.apiVersion}`;
    return [invalid(`${field}.fieldPath`, reference.fieldPath, `error converting fieldPath: ${why}`)];
  }
  if (!subscripted) return allowed.includes(path) ? [] : [notSupported(`${field}.fieldPath`, path, allowed)];
  const key = subscripted[2]!;
  if (path === 'metadata.annotations') return invalidFor(field, key.toLowerCase(), labelKeyProblems(key.toLowerCase()));
  if (path === 'metadata.labels') return invalidFor(field, key, labelKeyProblems(key));
  return [invalid(field, path, 'does not support subscript')];
}

const DIVISORS = ['1', '1k', '1M', '1G', '1T', '1P', '1E', '1Ki', '1Mi', '1Gi', '1Ti', '1Pi', '1Ei'];

/** `inVolume`: there the container must be named, in a variable it is the variable's own. */
export function validateResourceFieldRef(
  reference: ResourceFieldSelector,
  field: string,
  inVolume: boolean,
): FieldError[] {
  const { resource } = reference;
  const isHugePages = /^(limits|requests)\.hugepages-/.test(resource ?? '');
  const errors: FieldError[] = [];
  if (inVolume && !reference.containerName) errors.push(required(`${field}.containerName`));
  else if (!resource) errors.push(required(`${field}.resource`));
  else if (!RESOURCE_FIELDS.includes(resource) && !isHugePages)
    errors.push(notSupported(`${field}.resource`, resource, RESOURCE_FIELDS));
  const divisor = canonicalQuantity(reference.divisor ?? '0');
  if (divisor === '0') return errors;
  const kind = isHugePages ? 'hugepages' : resource?.split('.')[1];
  if (kind === 'cpu' && !['1m', '1'].includes(divisor))
    errors.push(
      invalid(`${field}.divisor`, resource, "only divisor's values 1m and 1 are supported with the cpu resource"),
    );
  if (kind !== 'cpu' && !DIVISORS.includes(divisor)) {
    const what = kind === 'ephemeral-storage' ? 'local ephemeral storage' : kind;
    errors.push(
      invalid(
        `${field}.divisor`,
        resource,
        `only divisor's values ${DIVISORS.join(', ')} are supported with the ${what} resource`,
      ),
    );
  }
  return errors;
}

export function validateEnvFrom(sources: readonly EnvFromSource[] | undefined, field: string): FieldError[] {
  return (sources ?? []).flatMap((source, index) => {
    const at = `${field}[${index}]`;
    const errors = source.prefix ? invalidFor(`${at}.prefix`, source.prefix, envNameProblems(source.prefix)) : [];
    if (source.configMapRef) errors.push(...validateSourceName(source.configMapRef.name, `${at}.configMapRef.name`));
    if (source.secretRef) errors.push(...validateSourceName(source.secretRef.name, `${at}.secretRef.name`));
    // The path without the index is upstream's.
    if (!source.configMapRef && !source.secretRef)
      errors.push(invalid(field, '', 'must specify one of: `configMapRef` or `secretRef`'));
    else if (source.configMapRef && source.secretRef)
      errors.push(invalid(field, '', 'may not have more than one field specified at a time'));
    return errors;
  });
}

function validateSourceName(name: string | undefined, field: string): FieldError[] {
  return name ? invalidFor(field, name, subdomainName(name, true)) : [required(field)];
}
