import type { KubeObject, LabelSelector, PodTemplateSpec } from '../../src/kube/types.ts';
import type { TableColumn } from '../apiserver/definition.ts';
import { type FieldError, invalid, required } from '../apiserver/field-error.ts';
import { wideColumn } from './columns.ts';
import { formatSelector, isEmptySelector, validateLabelSelector } from './labels.ts';
import { nonNegative } from './values.ts';

/** What Deployments and ReplicaSets share. */

interface Workload extends KubeObject {
  spec: { selector: LabelSelector; template?: PodTemplateSpec };
}

const containersOf = ({ spec }: Workload) => spec.template?.spec?.containers ?? [];

/** Containers, Images and Selector of `-o wide`. */
export const templateColumns: readonly TableColumn<Workload>[] = [
  wideColumn('Containers', 'string', 'Names of each container in the template.', (object) =>
    containersOf(object)
      .map(({ name }) => name)
      .join(','),
  ),
  wideColumn('Images', 'string', 'Images referenced by each container in the template.', (object) =>
    containersOf(object)
      .map(({ image }) => image ?? '')
      .join(','),
  ),
  wideColumn('Selector', 'string', 'Labels of the pods that belong to it.', ({ spec }) =>
    formatSelector(spec.selector),
  ),
];

/** The message says deployment for every kind: it is upstream's. */
export function validateWorkloadSelector(selector: LabelSelector | undefined): FieldError[] {
  if (!selector) return [required('spec.selector')];
  return [
    ...validateLabelSelector(selector, 'spec.selector'),
    ...(isEmptySelector(selector)
      ? [invalid('spec.selector', selector, 'empty selector is invalid for deployment')]
      : []),
  ];
}

/** Counts of a status: none negative, none of `parts` above `replicas`, available ones among the ready. */
export function validateReplicaCounts(
  counts: Readonly<Record<string, number>>,
  parts: readonly string[],
): FieldError[] {
  const errors = Object.entries(counts).flatMap(([name, count]) => nonNegative(`status.${name}`, count));
  for (const part of parts)
    if (counts[part]! > counts['replicas']!)
      errors.push(invalid(`status.${part}`, counts[part], 'cannot be greater than status.replicas'));
  if (counts['availableReplicas']! > counts['readyReplicas']!)
    errors.push(
      invalid('status.availableReplicas', counts['availableReplicas'], 'cannot be greater than readyReplicas'),
    );
  return errors;
}
