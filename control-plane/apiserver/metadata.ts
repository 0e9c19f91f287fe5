import { isLabelValue, isQualifiedName } from '../../src/kube/selectors.ts';
import type { ObjectMeta } from '../../src/kube/types.ts';
import type { ResourceDefinition } from './definition.ts';
import { type FieldError, forbidden, invalid, required, tooLong } from './field-error.ts';
import { subdomainName } from './names.ts';

const ANNOTATIONS_LIMIT_BYTES = 256 * 1024;
const NAME_RULE =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/** Checks what every kind has: names, labels, annotations, owners, finalizers (ValidateObjectMeta). */
export function validateMetadata(metadata: ObjectMeta, definition: ResourceDefinition): FieldError[] {
  const errors: FieldError[] = [];
  if (metadata.generateName && !metadata.name)
    for (const why of definition.validateName(metadata.generateName, true))
      errors.push(invalid('metadata.generateName', metadata.generateName, why));
  if (!metadata.name) errors.push(required('metadata.name', 'name or generateName is required'));
  else
    for (const why of definition.validateName(metadata.name, false))
      errors.push(invalid('metadata.name', metadata.name, why));
  if (definition.namespaced && !metadata.namespace) errors.push(required('metadata.namespace'));
  if (!definition.namespaced && metadata.namespace)
    errors.push(forbidden('metadata.namespace', 'not allowed on this type'));
  errors.push(...validateLabels(metadata.labels), ...validateAnnotations(metadata.annotations));
  for (const [index, owner] of (metadata.ownerReferences ?? []).entries()) {
    const field = `metadata.ownerReferences[${index}]`;
    if (!owner.apiVersion) errors.push(invalid(`${field}.apiVersion`, '', 'version must not be empty'));
    if (!owner.kind) errors.push(invalid(`${field}.kind`, '', 'must not be empty'));
    if (!owner.name) errors.push(invalid(`${field}.name`, '', 'must not be empty'));
    if (!owner.uid) errors.push(invalid(`${field}.uid`, '', 'must not be empty'));
  }
  const controllers = (metadata.ownerReferences ?? []).filter((owner) => owner.controller);
  if (controllers.length > 1)
    errors.push(
      invalid(
        'metadata.ownerReferences',
        metadata.ownerReferences,
        `Only one reference can have Controller set to true. Found "true" in references for ${controllers[0]!.kind}/${controllers[0]!.name} and ${controllers[1]!.kind}/${controllers[1]!.name}`,
      ),
    );
  for (const [index, finalizer] of (metadata.finalizers ?? []).entries())
    if (!isQualifiedName(finalizer)) errors.push(invalid(`metadata.finalizers[${index}]`, finalizer, NAME_RULE));
  return errors;
}

/** `field` is where the map stands; also for labels in templates and selectors. */
export function validateLabels(labels: Record<string, string> | undefined, field = 'metadata.labels'): FieldError[] {
  const errors: FieldError[] = [];
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!isQualifiedName(key)) errors.push(invalid(field, key, keyRule(key)));
    if (!isLabelValue(value))
      errors.push(invalid(field, value, value.length > 63 ? 'must be no more than 63 characters' : VALUE_RULE));
  }
  return errors;
}

export function validateAnnotations(
  annotations: Record<string, string> | undefined,
  field = 'metadata.annotations',
): FieldError[] {
  const errors: FieldError[] = [];
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations ?? {})) {
    // Upper case is accepted here, in the prefix too, as upstream does.
    if (!isQualifiedName(key.toLowerCase())) errors.push(invalid(field, key, keyRule(key)));
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (bytes > ANNOTATIONS_LIMIT_BYTES) errors.push(tooLong(field, ANNOTATIONS_LIMIT_BYTES));
  return errors;
}

function keyRule(key: string): string {
  const [prefix, name] = key.includes('/')
    ? [key.slice(0, key.indexOf('/')), key.slice(key.indexOf('/') + 1)]
    : ['', key];
  if (key.split('/').length > 2)
    return `a qualified name must consist of alphanumeric characters, '-', '_' or '.', with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`;
  const [problem] = prefix ? subdomainName(prefix) : [];
  if (problem) return `prefix part ${problem}`;
  return name.length > 63 ? 'name part must be no more than 63 characters' : NAME_RULE;
}

/** What an update may not do to metadata (ValidateObjectMetaUpdate). */
export function validateMetadataUpdate(metadata: ObjectMeta, old: ObjectMeta): FieldError[] {
  const errors: FieldError[] = [];
  if (old.deletionTimestamp) {
    const added = (metadata.finalizers ?? []).filter((finalizer) => !old.finalizers?.includes(finalizer));
    if (added.length > 0)
      errors.push(
        forbidden(
          'metadata.finalizers',
          `no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`,
        ),
      );
  }
  return errors;
}

/** What the server owns is set from the old object, whatever the client sent. */
export function restoreSystemMetadata(metadata: ObjectMeta, old: ObjectMeta): void {
  const owned = ['uid', 'creationTimestamp', 'generation', 'deletionTimestamp', 'deletionGracePeriodSeconds'] as const;
  for (const field of owned) {
    if (old[field] === undefined) delete metadata[field];
    else (metadata as unknown as Record<string, unknown>)[field] = old[field];
  }
  // An update that says nothing of the generateName does not mean to drop it.
  metadata.generateName ??= old.generateName;
  if (metadata.generateName === undefined) delete metadata.generateName;
  dropUnserved(metadata);
}

/** Fields that this server does not keep: selfLink is gone from Kubernetes, managedFields come with server-side apply. */
export function dropUnserved(metadata: ObjectMeta): void {
  delete metadata.managedFields;
  delete metadata.selfLink;
}

/** Empty maps and lists mean the same as none; one form makes equal objects equal texts. */
export function dropEmptyMetadata(metadata: ObjectMeta): void {
  const fields = ['labels', 'annotations', 'finalizers', 'ownerReferences', 'managedFields'] as const;
  for (const field of fields) {
    const value = metadata[field];
    if (value === null || (value !== undefined && Object.keys(value).length === 0)) delete metadata[field];
  }
  if (metadata.generateName === '') delete metadata.generateName;
  if (metadata.namespace === '') delete metadata.namespace;
}
