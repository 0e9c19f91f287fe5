import type { LabelSelector, PodTemplateSpec } from '../../../src/kube/types.ts';
import { type FieldError, forbidden, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { validateAnnotations, validateLabels } from '../../apiserver/labels.ts';
import { selectorMatches } from '../labels.ts';
import { applyPodSpecDefaults } from './defaults.ts';
import { validatePodSpec } from './pod-spec.ts';

export function applyTemplateDefaults(template: PodTemplateSpec): void {
  template.spec ??= { containers: [] };
  applyPodSpecDefaults(template.spec);
}

/** Rules of the template of a kind whose pods run for ever (Deployment, ReplicaSet); `kind` stands in messages. */
export function validateTemplate(
  template: PodTemplateSpec | undefined,
  selector: LabelSelector | undefined,
  kind: string,
  field: string,
): FieldError[] {
  if (!template) return [required(field)];
  const { metadata, spec } = template;
  const errors: FieldError[] = [];
  if (selector && !selectorMatches(selector, metadata?.labels))
    errors.push(
      invalid(`${field}.metadata.labels`, metadata?.labels ?? null, '`selector` does not match template `labels`'),
    );
  errors.push(
    ...validateLabels(metadata?.labels, `${field}.labels`),
    ...validateAnnotations(metadata?.annotations, `${field}.annotations`),
    ...validatePodSpec(spec ?? { containers: [] }, `${field}.spec`, false),
  );
  if ((spec?.ephemeralContainers ?? []).length > 0)
    errors.push(forbidden(`${field}.spec.ephemeralContainers`, 'ephemeral containers not allowed in pod template'));
  if (spec?.restartPolicy !== 'Always')
    errors.push(notSupported(`${field}.spec.restartPolicy`, spec?.restartPolicy, ['Always']));
  if (typeof spec?.activeDeadlineSeconds === 'number')
    errors.push(forbidden(`${field}.spec.activeDeadlineSeconds`, `activeDeadlineSeconds in ${kind} is not Supported`));
  return errors;
}
