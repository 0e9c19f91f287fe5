import { labelMatcher, labelSelector } from '../../src/kube/selectors.ts';
import type { LabelSelector, LabelSelectorRequirement } from '../../src/kube/types.ts';
import { type FieldError, forbidden, invalid, required, tooLong } from '../apiserver/field-error.ts';
import { semanticEqual } from './equality.ts';
import { invalidFor, labelKeyProblems, labelValueProblems } from './values.ts';

/** Labels, annotations and label selectors inside of specs (those of metadata are checked by the generic layer). */

const ANNOTATIONS_LIMIT_BYTES = 256 * 1024;

export function validateLabelKey(key: string, field: string): FieldError[] {
  return invalidFor(field, key, labelKeyProblems(key));
}

export function validateLabels(labels: Record<string, string> | undefined, field: string): FieldError[] {
  return Object.entries(labels ?? {}).flatMap(([key, value]) => [
    ...validateLabelKey(key, field),
    ...invalidFor(field, value, labelValueProblems(value)),
  ]);
}

export function validateAnnotations(annotations: Record<string, string> | undefined, field: string): FieldError[] {
  const entries = Object.entries(annotations ?? {});
  const errors = entries.flatMap(([key]) => invalidFor(field, key, labelKeyProblems(key.toLowerCase())));
  const size = entries.reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);
  if (size > ANNOTATIONS_LIMIT_BYTES) errors.push(tooLong(field, ANNOTATIONS_LIMIT_BYTES));
  return errors;
}

export function validateLabelSelector(selector: LabelSelector | undefined | null, field: string): FieldError[] {
  if (!selector) return [];
  return [
    ...validateLabels(selector.matchLabels, `${field}.matchLabels`),
    ...(selector.matchExpressions ?? []).flatMap((expression, index) =>
      validateExpression(expression, `${field}.matchExpressions[${index}]`),
    ),
  ];
}

function validateExpression(expression: LabelSelectorRequirement, field: string): FieldError[] {
  const values = expression.values ?? [];
  const errors: FieldError[] = [];
  switch (expression.operator) {
    case 'In':
    case 'NotIn':
      if (values.length === 0)
        errors.push(required(`${field}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
      break;
    case 'Exists':
    case 'DoesNotExist':
      if (values.length > 0)
        errors.push(forbidden(`${field}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
      break;
    default:
      errors.push(invalid(`${field}.operator`, expression.operator, 'not a valid selector operator'));
  }
  errors.push(...validateLabelKey(expression.key, `${field}.key`));
  values.forEach((value, index) => {
    errors.push(...invalidFor(`${field}.values[${index}]`, value, labelValueProblems(value)));
  });
  return errors;
}

export function isEmptySelector(selector: LabelSelector): boolean {
  return Object.keys(selector.matchLabels ?? {}).length === 0 && (selector.matchExpressions ?? []).length === 0;
}

/** Whether a well-formed selector picks these labels; an invalid one picks none. */
export function selectorMatches(selector: LabelSelector, labels: Record<string, string> | undefined): boolean {
  try {
    return labelSelector(selector).matches(labels);
  } catch {
    return false;
  }
}

/** `app=web,tier in (a,b)`, sorted by key; `<none>` when it is empty (metav1.FormatLabelSelector). */
export function formatSelector(selector: LabelSelector | undefined): string {
  if (!selector || isEmptySelector(selector)) return '<none>';
  try {
    const sorted = labelSelector(selector).requirements.toSorted((left, right) => (left.key < right.key ? -1 : 1));
    return labelMatcher(sorted).toString();
  } catch {
    return '<error>';
  }
}

/** `app=web,tier=front`, sorted by key; `<none>` when there are none. */
export function formatLabels(labels: Record<string, string> | undefined): string {
  const entries = Object.entries(labels ?? {}).sort(([left], [right]) => (left < right ? -1 : 1));
  return entries.length === 0 ? '<none>' : entries.map(([key, value]) => `${key}=${value}`).join(',');
}

/** `field is immutable` when the values differ. */
export function validateImmutable(value: unknown, old: unknown, field: string): FieldError[] {
  return semanticEqual(value, old) ? [] : [invalid(field, value, 'field is immutable')];
}
