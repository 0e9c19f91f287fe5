import type { ObjectMeta } from '../../src/kube/types.ts';
import type { ResourceDefinition } from './definition.ts';
import { type FieldError, forbidden, invalid, required } from './field-error.ts';
import { labelKeyProblems, validateAnnotations, validateLabels } from './labels.ts';

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
  errors.push(
    ...validateLabels(metadata.labels, 'metadata.labels'),
    ...validateAnnotations(metadata.annotations, 'metadata.annotations'),
  );
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
    for (const why of labelKeyProblems(finalizer))
      errors.push(invalid(`metadata.finalizers[${index}]`, finalizer, why));
  return errors;
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
