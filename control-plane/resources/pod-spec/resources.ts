import { compareQuantities, parseQuantity } from '../../../src/kube/quantity.ts';
import type { ResourceRequirements } from '../../../src/kube/types.ts';
import {
  duplicate,
  type FieldError,
  forbidden,
  invalid,
  notFound,
  notSupported,
  required,
} from '../../apiserver/field-error.ts';
import { labelKeyProblems } from '../../apiserver/labels.ts';
import { labelName } from '../../apiserver/names.ts';
import { invalidFor } from '../values.ts';

/** Resource names and quantities. Quantities are well-formed here: defaulting has parsed them. */

const CONTAINER_RESOURCES = new Set(['cpu', 'memory', 'ephemeral-storage']);
const STANDARD_RESOURCES = new Set([
  ...CONTAINER_RESOURCES,
  'storage',
  'pods',
  'services',
  'replicationcontrollers',
  'resourcequotas',
  'secrets',
  'configmaps',
  'persistentvolumeclaims',
  'services.nodeports',
  'services.loadbalancers',
  'requests.cpu',
  'requests.memory',
  'requests.storage',
  'requests.ephemeral-storage',
  'limits.cpu',
  'limits.memory',
  'limits.ephemeral-storage',
]);

const isHugePages = (name: string) => name.startsWith('hugepages-');
const isNative = (name: string) => !name.includes('/') || name.includes('kubernetes.io/');
/** Fractions of these make sense, and so does promising more than there is. */
const isOvercommitAllowed = (name: string) => isNative(name) && !isHugePages(name);

function isExtended(name: string): boolean {
  return !isNative(name) && !name.startsWith('requests.') && labelKeyProblems(`requests.${name}`).length === 0;
}

/** limits and requests of a container. `claimNames` are those of the pod's resourceClaims. */
export function validateContainerResources(
  resources: ResourceRequirements | undefined,
  claimNames: ReadonlySet<string>,
  field: string,
): FieldError[] {
  return validateRequirements(resources ?? {}, claimNames, field, validateContainerResourceName);
}

const POD_LEVEL_RESOURCES = ['cpu', 'memory'];

/** `spec.resources` of a pod: only what can be shared. */
export function validatePodResources(resources: ResourceRequirements | undefined, field: string): FieldError[] {
  if (!resources) return [];
  const errors = validateRequirements(resources, new Set(), field, (name, at) =>
    POD_LEVEL_RESOURCES.includes(name) || isHugePages(name)
      ? []
      : [notSupported(at, name, [...POD_LEVEL_RESOURCES, 'hugepages-'])],
  );
  if (resources.claims) errors.unshift(forbidden(`${field}.claims`, 'claims cannot be set for Resources at pod-level'));
  return errors;
}

function validateRequirements(
  resources: ResourceRequirements,
  claimNames: ReadonlySet<string>,
  field: string,
  validateName: (name: string, field: string) => FieldError[],
): FieldError[] {
  const errors: FieldError[] = [];
  const limits = resources.limits ?? {};
  const requests = resources.requests ?? {};
  for (const [name, quantity] of Object.entries(limits)) {
    const at = `${field}.limits[${name}]`;
    errors.push(...validateName(name, at), ...validateQuantity(name, quantity, at));
  }
  for (const [name, quantity] of Object.entries(requests)) {
    const at = `${field}.requests[${name}]`;
    errors.push(...validateName(name, at), ...validateQuantity(name, quantity, at));
    const limit = limits[name];
    if (limit === undefined) {
      if (!isOvercommitAllowed(name))
        errors.push(required(`${field}.limits`, 'Limit must be set for non overcommitable resources'));
    } else if (!isOvercommitAllowed(name) && compareQuantities(quantity, limit) !== 0)
      errors.push(invalid(`${field}.requests`, quantity, `must be equal to ${name} limit of ${limit}`));
    else if (compareQuantities(quantity, limit) > 0)
      errors.push(invalid(`${field}.requests`, quantity, `must be less than or equal to ${name} limit of ${limit}`));
  }
  const names = [...Object.keys(limits), ...Object.keys(requests)];
  if (names.some(isHugePages) && !names.includes('cpu') && !names.includes('memory'))
    errors.push(forbidden(field, 'HugePages require cpu or memory'));
  errors.push(...validateClaims(resources, claimNames, `${field}.claims`));
  return errors;
}

function validateClaims(resources: ResourceRequirements, claimNames: ReadonlySet<string>, field: string): FieldError[] {
  const seen = new Set<string>();
  return (resources.claims ?? []).flatMap((claim, index) => {
    const at = `${field}[${index}]`;
    if (!claim.name) return [required(`${at}.name`)];
    if (seen.has(claim.name)) return [duplicate(at, claim.name)];
    seen.add(claim.name);
    return claimNames.has(claim.name) ? [] : [notFound(at, claim.name)];
  });
}

/** A value of a resource: not negative, whole where the resource comes in pieces. */
export function validateQuantity(name: string, quantity: string, field: string): FieldError[] {
  const { nano, milli } = parseQuantity(quantity);
  const errors: FieldError[] = [];
  if (nano < 0n) errors.push(invalid(field, quantity, 'must be greater than or equal to 0'));
  if ((isExtended(name) || name === 'pods' || isHugePages(name)) && milli % 1000n !== 0n)
    errors.push(invalid(field, quantity, 'must be an integer'));
  if (isHugePages(name)) {
    const pageBytes = hugePageBytes(name);
    if (pageBytes !== undefined && nano >= 0n && (milli / 1000n) % pageBytes !== 0n)
      errors.push(invalid(field, quantity, `${quantity} is not positive integer multiple of ${name}`));
  }
  return errors;
}

function hugePageBytes(name: string): bigint | undefined {
  try {
    const { value } = parseQuantity(name.slice('hugepages-'.length));
    return value > 0n ? value : undefined;
  } catch {
    return undefined;
  }
}

function validateContainerResourceName(name: string, field: string): FieldError[] {
  const malformed = invalidFor(field, name, labelKeyProblems(name));
  if (malformed.length > 0) return malformed;
  if (!name.includes('/')) {
    const errors: FieldError[] = [];
    if (!STANDARD_RESOURCES.has(name) && !isHugePages(name))
      errors.push(invalid(field, name, 'must be a standard resource type or fully qualified'));
    if (!CONTAINER_RESOURCES.has(name) && !isHugePages(name))
      errors.push(invalid(field, name, 'must be a standard resource for containers'));
    return errors;
  }
  return isNative(name) || isExtended(name)
    ? []
    : [invalid(field, name, "doesn't follow extended resource name standard")];
}

/** `spec.resourceClaims` of a pod. */
export function validateResourceClaims(
  claims: readonly { name: string; resourceClaimName?: string; resourceClaimTemplateName?: string }[] | undefined,
  field: string,
): FieldError[] {
  const seen = new Set<string>();
  return (claims ?? []).flatMap((claim, index) => {
    const at = `${field}[${index}]`;
    const errors: FieldError[] = [];
    if (!claim.name) errors.push(required(`${at}.name`));
    else if (seen.has(claim.name)) errors.push(duplicate(`${at}.name`, claim.name));
    else errors.push(...invalidFor(`${at}.name`, claim.name, labelName(claim.name)));
    seen.add(claim.name);
    const both = claim.resourceClaimName !== undefined && claim.resourceClaimTemplateName !== undefined;
    if (both)
      errors.push(
        invalid(at, claim, 'at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified'),
      );
    if (claim.resourceClaimName === undefined && claim.resourceClaimTemplateName === undefined)
      errors.push(invalid(at, claim, 'must specify one of: `resourceClaimName`, `resourceClaimTemplateName`'));
    return errors;
  });
}
