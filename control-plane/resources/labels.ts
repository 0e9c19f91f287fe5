import { labelMatcher, labelSelector } from '../../src/kube/selectors.ts';
import type { LabelSelector, LabelSelectorRequirement } from '../../src/kube/types.ts';
import { type FieldError, forbidden, invalid, required } from '../apiserver/field-error.ts';
import { labelKeyProblems, labelValueProblems, validateLabels } from '../apiserver/labels.ts';
import { semanticEqual } from './equality.ts';
import { invalidFor } from './values.ts';

/** Label keys and label selectors inside of specs. */

export function validateLabelKey(key: string, field: string): FieldError[] {
  return invalidFor(field, key, labelKeyProblems(key));
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
