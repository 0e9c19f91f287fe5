import type {
  Affinity,
  NodeSelectorRequirement,
  NodeSelectorTerm,
  PodAffinity,
  PodAffinityTerm,
  PodSpec,
  Toleration,
  TopologySpreadConstraint,
} from '../../../src/kube/types.ts';
import { duplicate, type FieldError, forbidden, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { labelKeyProblems, labelValueProblems } from '../../apiserver/labels.ts';
import { labelName, subdomainName } from '../../apiserver/names.ts';
import { validateLabelKey, validateLabelSelector } from '../labels.ts';
import { invalidFor } from '../values.ts';

/** What a pod asks of the scheduler: affinity, tolerations, spreading, gates. */

export const TAINT_EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

export function validateTolerations(tolerations: readonly Toleration[] | undefined, field: string): FieldError[] {
  return (tolerations ?? []).flatMap((toleration, index) => {
    const at = `${field}[${index}]`;
    const { key = '', operator = '', value = '', effect = '' } = toleration;
    const errors = key ? validateLabelKey(key, `${at}.key`) : [];
    if (!key && operator !== 'Exists')
      errors.push(
        invalid(
          `${at}.operator`,
          operator,
          'operator must be Exists when `key` is empty, which means "match all values and all keys"',
        ),
      );
    if (typeof toleration.tolerationSeconds === 'number' && effect !== 'NoExecute')
      errors.push(invalid(`${at}.effect`, effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"));
    if (operator === 'Equal' || operator === '') {
      const problems = labelValueProblems(value);
      if (problems.length > 0) errors.push(invalid(`${at}.operator`, value, problems.join(';')));
    } else if (operator === 'Exists') {
      if (value) errors.push(invalid(`${at}.operator`, value, "value must be empty when `operator` is 'Exists'"));
    } else errors.push(notSupported(`${at}.operator`, operator, ['Equal', 'Exists']));
    if (effect && !TAINT_EFFECTS.includes(effect)) errors.push(notSupported(`${at}.effect`, effect, TAINT_EFFECTS));
    return errors;
  });
}

export function validateAffinity(affinity: Affinity | undefined, field: string): FieldError[] {
  if (!affinity) return [];
  const { nodeAffinity, podAffinity, podAntiAffinity } = affinity;
  const errors: FieldError[] = [];
  const required_ = nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (required_) {
    const at = `${field}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`;
    const terms = required_.nodeSelectorTerms ?? [];
    if (terms.length === 0) errors.push(required(at, 'must have at least one node selector term'));
    terms.forEach((term, index) => {
      errors.push(...validateNodeSelectorTerm(term, `${at}[${index}]`, true));
    });
  }
  (nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).forEach((preferred, index) => {
    const at = `${field}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[${index}]`;
    errors.push(...validateWeight(preferred.weight, `${at}.weight`));
    // Bad values in preferences only make them never match: upstream has always taken them.
    errors.push(...validateNodeSelectorTerm(preferred.preference ?? {}, `${at}.preference`, false));
  });
  errors.push(...validatePodAffinity(podAffinity, `${field}.podAffinity`));
  errors.push(...validatePodAffinity(podAntiAffinity, `${field}.podAntiAffinity`));
  return errors;
}

function validateWeight(weight: number, field: string): FieldError[] {
  return weight > 0 && weight <= 100 ? [] : [invalid(field, weight, 'must be in the range 1-100')];
}

export function validateNodeSelectorTerm(term: NodeSelectorTerm, field: string, checkValues: boolean): FieldError[] {
  return [
    ...(term.matchExpressions ?? []).flatMap((requirement, index) =>
      validateNodeRequirement(requirement, `${field}.matchExpressions[${index}]`, checkValues),
    ),
    ...(term.matchFields ?? []).flatMap((requirement, index) =>
      validateNodeFieldRequirement(requirement, `${field}.matchFields[${index}]`),
    ),
  ];
}

function validateNodeRequirement(
  requirement: NodeSelectorRequirement,
  field: string,
  checkValues: boolean,
): FieldError[] {
  const values = requirement.values ?? [];
  const errors: FieldError[] = [];
  switch (requirement.operator) {
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
    case 'Gt':
    case 'Lt':
      if (values.length !== 1)
        errors.push(required(`${field}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
      break;
    default:
      errors.push(invalid(`${field}.operator`, requirement.operator, 'not a valid selector operator'));
  }
  errors.push(...validateLabelKey(requirement.key ?? '', `${field}.key`));
  if (checkValues)
    values.forEach((value, index) => {
      errors.push(...invalidFor(`${field}.values[${index}]`, value, labelValueProblems(value)));
    });
  return errors;
}

function validateNodeFieldRequirement(requirement: NodeSelectorRequirement, field: string): FieldError[] {
  const values = requirement.values ?? [];
  const errors: FieldError[] = [];
  if (requirement.operator === 'In' || requirement.operator === 'NotIn') {
    if (values.length !== 1)
      errors.push(
        required(
          `${field}.values`,
          "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
      );
  } else errors.push(invalid(`${field}.operator`, requirement.operator, 'not a valid selector operator'));
  if (requirement.key !== 'metadata.name')
    errors.push(invalid(`${field}.key`, requirement.key, 'not a valid field selector key'));
  else
    values.forEach((value, index) => {
      errors.push(...invalidFor(`${field}.values[${index}]`, value, subdomainName(value)));
    });
  return errors;
}

function validatePodAffinity(affinity: PodAffinity | undefined, field: string): FieldError[] {
  return [
    ...(affinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).flatMap((term, index) =>
      validatePodAffinityTerm(term, `${field}.requiredDuringSchedulingIgnoredDuringExecution[${index}]`),
    ),
    ...(affinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).flatMap((preferred, index) => {
      const at = `${field}.preferredDuringSchedulingIgnoredDuringExecution[${index}]`;
      return [
        ...validateWeight(preferred.weight, `${at}.weight`),
        ...validatePodAffinityTerm(preferred.podAffinityTerm, `${at}.podAffinityTerm`),
      ];
    }),
  ];
}

function validatePodAffinityTerm(term: PodAffinityTerm, field: string): FieldError[] {
  const errors = [
    ...validateLabelSelector(term.labelSelector, `${field}.labelSelector`),
    ...validateLabelSelector(term.namespaceSelector, `${field}.namespaceSelector`),
    ...(term.namespaces ?? []).flatMap((name) => invalidFor(`${field}.namespace`, name, labelName(name))),
  ];
  const match = term.matchLabelKeys ?? [];
  const mismatch = term.mismatchLabelKeys ?? [];
  for (const [name, keys] of [
    ['matchLabelKeys', match],
    ['mismatchLabelKeys', mismatch],
  ] as const) {
    if (keys.length > 0 && !term.labelSelector)
      errors.push(forbidden(`${field}.${name}`, 'must not be specified when labelSelector is not set'));
    else
      keys.forEach((key, index) => {
        errors.push(...validateLabelKey(key, `${field}.${name}[${index}]`));
      });
  }
  match.forEach((key, index) => {
    if (mismatch.includes(key))
      errors.push(
        invalid(`${field}.matchLabelKeys[${index}]`, key, 'exists in both matchLabelKeys and mismatchLabelKeys'),
      );
  });
  if (!term.topologyKey) errors.push(required(`${field}.topologyKey`, 'can not be empty'));
  errors.push(...validateLabelKey(term.topologyKey ?? '', `${field}.topologyKey`));
  return errors;
}

const UNSATISFIABLE_ACTIONS = ['DoNotSchedule', 'ScheduleAnyway'];
const INCLUSION_POLICIES = ['Honor', 'Ignore'];

export function validateTopologySpread(
  constraints: readonly TopologySpreadConstraint[] | undefined,
  field: string,
): FieldError[] {
  return (constraints ?? []).flatMap((constraint, index) => {
    const at = `${field}[${index}]`;
    const errors: FieldError[] = [];
    if (!(constraint.maxSkew > 0))
      errors.push(invalid(`${at}.maxSkew`, constraint.maxSkew, 'must be greater than zero'));
    if (!constraint.topologyKey) errors.push(required(`${at}.topologyKey`, 'can not be empty'));
    if (!UNSATISFIABLE_ACTIONS.includes(constraint.whenUnsatisfiable))
      errors.push(notSupported(`${at}.whenUnsatisfiable`, constraint.whenUnsatisfiable, UNSATISFIABLE_ACTIONS));
    const isSame = (other: TopologySpreadConstraint) =>
      other.topologyKey === constraint.topologyKey && other.whenUnsatisfiable === constraint.whenUnsatisfiable;
    if (constraints!.slice(index + 1).some(isSame))
      errors.push(
        duplicate(
          `${at}.{topologyKey, whenUnsatisfiable}`,
          `{${constraint.topologyKey}, ${constraint.whenUnsatisfiable}}`,
        ),
      );
    if (typeof constraint.minDomains === 'number') {
      if (constraint.minDomains <= 0)
        errors.push(invalid(`${at}.minDomains`, constraint.minDomains, 'must be greater than zero'));
      if (constraint.whenUnsatisfiable !== 'DoNotSchedule')
        errors.push(
          invalid(
            `${at}.minDomains`,
            constraint.minDomains,
            `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${constraint.whenUnsatisfiable}`,
          ),
        );
    }
    for (const policy of ['nodeAffinityPolicy', 'nodeTaintsPolicy'] as const)
      if (constraint[policy] && !INCLUSION_POLICIES.includes(constraint[policy]))
        errors.push(notSupported(`${at}.${policy}`, constraint[policy], INCLUSION_POLICIES));
    errors.push(...validateSpreadKeys(constraint, `${at}.matchLabelKeys`));
    errors.push(...validateLabelSelector(constraint.labelSelector, `${at}.labelSelector`));
    return errors;
  });
}

function validateSpreadKeys(constraint: TopologySpreadConstraint, field: string): FieldError[] {
  const keys = constraint.matchLabelKeys ?? [];
  if (keys.length === 0) return [];
  const { labelSelector } = constraint;
  const errors = labelSelector ? [] : [forbidden(field, 'must not be specified when labelSelector is not set')];
  const selected = new Set([
    ...Object.keys(labelSelector?.matchLabels ?? {}),
    ...(labelSelector?.matchExpressions ?? []).map((expression) => expression.key),
  ]);
  keys.forEach((key, index) => {
    errors.push(...validateLabelKey(key, `${field}[${index}]`));
    if (selected.has(key))
      errors.push(invalid(`${field}[${index}]`, key, 'exists in both matchLabelKeys and labelSelector'));
  });
  return errors;
}

/** readinessGates and schedulingGates. */
export function validateGates(spec: PodSpec, field: string): FieldError[] {
  const seen = new Set<string>();
  return [
    ...(spec.readinessGates ?? []).flatMap(({ conditionType }, index) =>
      invalidFor(`${field}.readinessGates[${index}].conditionType`, conditionType, labelKeyProblems(conditionType)),
    ),
    ...(spec.schedulingGates ?? []).flatMap(({ name }, index) => {
      const at = `${field}.schedulingGates[${index}]`;
      const errors = invalidFor(at, name, labelKeyProblems(name));
      if (seen.has(name)) errors.push(duplicate(at, name));
      seen.add(name);
      return errors;
    }),
  ];
}
