import { SelectorError } from './field-selector.ts';
import type { LabelSelector } from './types.ts';

export * from './field-selector.ts';

export type LabelOperator = 'in' | 'notin' | 'exists' | '!' | 'gt' | 'lt';

export interface LabelRequirement {
  key: string;
  operator: LabelOperator;
  /** For in/notin (`=` and `!=` are these with one value); one number for gt/lt; else empty. */
  values: readonly string[];
}

/** A compiled label selector; requirements are ANDed. */
export interface LabelMatcher {
  readonly requirements: readonly LabelRequirement[];
  /** True when it selects everything. */
  readonly empty: boolean;
  matches(labels: Record<string, string> | undefined): boolean;
  /** The canonical string form, as ?labelSelector= takes it (a selector of nothing has no such form). */
  toString(): string;
}

/** Builds a matcher from requirements. `nothing` makes it match no object at all (a nil LabelSelector). */
export function labelMatcher(requirements: readonly LabelRequirement[], nothing = false): LabelMatcher {
  return {
    requirements,
    empty: requirements.length === 0 && !nothing,
    matches: (labels) => !nothing && requirements.every((requirement) => matchesRequirement(requirement, labels ?? {})),
    toString: () => requirements.map(renderRequirement).join(','),
  };
}

/** Whether one requirement holds; absent keys satisfy `!=`/`notin`/`!`, as upstream. */
export function matchesRequirement(requirement: LabelRequirement, labels: Record<string, string>): boolean {
  const has = Object.hasOwn(labels, requirement.key);
  const value = labels[requirement.key] ?? '';
  switch (requirement.operator) {
    case 'exists':
      return has;
    case '!':
      return !has;
    case 'in':
      return has && requirement.values.includes(value);
    case 'notin':
      return !has || !requirement.values.includes(value);
    case 'gt':
    case 'lt': {
      if (!has || !INTEGER.test(value)) return false;
      const bound = BigInt(requirement.values[0] ?? '0');
      return requirement.operator === 'gt' ? BigInt(value) > bound : BigInt(value) < bound;
    }
  }
}

const INTEGER = /^[+-]?\d+$/;

function renderRequirement({ key, operator, values }: LabelRequirement): string {
  switch (operator) {
    case 'exists':
      return key;
    case '!':
      return `!${key}`;
    case 'gt':
      return `${key}>${values[0]}`;
    case 'lt':
      return `${key}<${values[0]}`;
    case 'in':
      return values.length === 1 ? `${key}=${values[0]}` : `${key} in (${[...values].sort().join(',')})`;
    case 'notin':
      return values.length === 1 ? `${key}!=${values[0]}` : `${key} notin (${[...values].sort().join(',')})`;
  }
}

/** A matcher of `key=value` pairs (Service.spec.selector); an empty map matches everything. */
export function mapSelector(map: Record<string, string> | undefined): LabelMatcher {
  return labelMatcher(
    Object.entries(map ?? {}).map(([key, value]) => ({ key, operator: 'in' as const, values: [value] })),
  );
}

const OBJECT_OPERATORS: Record<string, LabelOperator> = {
  In: 'in',
  NotIn: 'notin',
  Exists: 'exists',
  DoesNotExist: '!',
  Gt: 'gt',
  Lt: 'lt',
};

/** matchExpressions of a LabelSelector or a NodeSelectorTerm as requirements. Throws SelectorError on an unknown operator. */
export function expressionRequirements(
  expressions: readonly { key: string; operator: string; values?: string[] }[],
): LabelRequirement[] {
  return expressions.map(({ key, operator, values }) => {
    const known = OBJECT_OPERATORS[operator];
    if (!known) throw new SelectorError(`${JSON.stringify(operator)} is not a valid label selector operator`);
    if ((known === 'gt' || known === 'lt') && !INTEGER.test(values?.[0] ?? ''))
      throw new SelectorError(`${key}: operator ${operator} needs one integer, got ${JSON.stringify(values ?? [])}`);
    return { key, operator: known, values: values ?? [] };
  });
}

/** A matcher of a LabelSelector object: absent selects nothing, empty selects everything (metav1's rule). */
export function labelSelector(selector: LabelSelector | undefined | null): LabelMatcher {
  if (!selector) return labelMatcher([], true);
  return labelMatcher([
    ...mapSelector(selector.matchLabels).requirements,
    ...expressionRequirements(selector.matchExpressions ?? []),
  ]);
}

/**
 * Parses the string form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>5`.
 * Throws SelectorError with a message in upstream's style.
 */
export function parseLabelSelector(text: string): LabelMatcher {
  const tokens = tokenize(text);
  const requirements: LabelRequirement[] = [];
  let at = 0;
  const peek = () => tokens[at];
  const next = () => tokens[at++];
  const fail = (found: string | undefined, expected: string): never => {
    throw new SelectorError(`unable to parse requirement: found '${found ?? ''}', expected: ${expected}`);
  };

  function value(): string {
    const token = peek();
    if (token === undefined || token === ',' || token === ')') return '';
    if (isSymbol(token)) fail(token, 'identifier');
    at++;
    return token;
  }

  function valueList(): string[] {
    const open = next();
    if (open !== '(') fail(open, "'('");
    const values = [value()];
    while (peek() === ',') {
      at++;
      values.push(value());
    }
    const close = next();
    if (close !== ')') fail(close, "',' or ')'");
    return [...new Set(values)];
  }

  function requirement(): LabelRequirement {
    const first = next();
    if (first === '!') {
      const key = next();
      if (key === undefined || isSymbol(key)) return fail(key, 'identifier');
      return { key, operator: '!', values: [] };
    }
    if (first === undefined || isSymbol(first)) return fail(first, '!, identifier');
    const operator = peek();
    switch (operator) {
      case undefined:
      case ',':
        return { key: first, operator: 'exists', values: [] };
      case '=':
      case '==':
        at++;
        return { key: first, operator: 'in', values: [value()] };
      case '!=':
        at++;
        return { key: first, operator: 'notin', values: [value()] };
      case 'in':
      case 'notin':
        at++;
        return { key: first, operator, values: valueList() };
      case '>':
      case '<': {
        at++;
        const bound = value();
        if (!INTEGER.test(bound)) fail(bound, 'an integer');
        return { key: first, operator: operator === '>' ? 'gt' : 'lt', values: [bound] };
      }
      default:
        return fail(operator, "in, notin, =, ==, !=, gt, lt, ',' or end");
    }
  }

  while (at < tokens.length) {
    const one = requirement();
    checkRequirement(one);
    requirements.push(one);
    if (at >= tokens.length) break;
    const comma = next();
    if (comma !== ',') fail(comma, "',' or end");
    if (at >= tokens.length) fail('', "identifier after ','");
  }
  return labelMatcher(requirements.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)));
}

const isSymbol = (token: string) => /^[()!=<>,]/.test(token);

function tokenize(text: string): string[] {
  return text.match(/==|!=|[()!=<>,]|[^\s()!=<>,]+/g) ?? [];
}

const NAME = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Whether a string is a qualified name: `[dns-prefix/]name`, name at most 63 characters. */
export function isQualifiedName(key: string): boolean {
  const parts = key.split('/');
  const name = parts.at(-1) ?? '';
  if (parts.length > 2 || name.length > 63 || !NAME.test(name)) return false;
  return parts.length === 1 || (parts[0]!.length <= 253 && SUBDOMAIN.test(parts[0]!));
}

/** Whether a string is a label value: empty, or at most 63 of [A-Za-z0-9-_.] with alphanumeric ends. */
export function isLabelValue(value: string): boolean {
  return value.length <= 63 && LABEL_VALUE.test(value);
}

function checkRequirement({ key, operator, values }: LabelRequirement): void {
  if (!isQualifiedName(key))
    throw new SelectorError(
      `key: Invalid value: ${JSON.stringify(key)}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`,
    );
  if (operator === 'gt' || operator === 'lt') return;
  for (const value of values)
    if (!isLabelValue(value))
      throw new SelectorError(
        `values[0][${key}]: Invalid value: ${JSON.stringify(value)}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`,
      );
}
