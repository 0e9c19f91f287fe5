import type { Container, PodSpec, Toleration } from '../../../src/kube/types.ts';
import { type FieldError, forbidden, invalid, required } from '../../apiserver/field-error.ts';
import { semanticEqual } from '../equality.ts';
import { inclusiveRange, MAX_INT32 } from '../values.ts';
import { validateTolerations } from './scheduling.ts';

const UPDATABLE =
  '`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

/** What a pod that exists may still change of its spec: images, deadline, more tolerations, fewer gates. */
export function validatePodSpecUpdate(spec: PodSpec, old: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  for (const list of ['containers', 'initContainers'] as const) {
    const containers = spec[list] ?? [];
    if (containers.length !== (old[list] ?? []).length)
      return [...errors, forbidden(`spec.${list}`, 'pod updates may not add or remove containers')];
    containers.forEach((container, index) => {
      if (!container.image) errors.push(required(`spec.${list}[${index}].image`));
    });
  }
  errors.push(...validateDeadline(spec.activeDeadlineSeconds, old.activeDeadlineSeconds));
  errors.push(...validateAddedTolerations(spec.tolerations ?? [], old.tolerations ?? []));
  errors.push(...validateFewerGates(spec, old));
  const munged = mungeUpdatable(spec, old);
  const isGated = (old.schedulingGates ?? []).length > 0;
  if (isGated) {
    errors.push(...validateNodeSelectorAdditions(spec.nodeSelector ?? {}, old.nodeSelector ?? {}));
    copyField(munged, old, 'nodeSelector');
  }
  if (!semanticEqual(munged, old))
    errors.push(
      forbidden(
        'spec',
        `pod updates may not change fields other than ${UPDATABLE}\n${describeDifference(munged, old)}`,
      ),
    );
  return errors;
}

function validateDeadline(deadline: number | undefined, old: number | undefined): FieldError[] {
  const field = 'spec.activeDeadlineSeconds';
  if (typeof deadline !== 'number')
    return typeof old === 'number'
      ? [invalid(field, null, 'must not update from a positive integer to nil value')]
      : [];
  if (deadline < 0 || deadline > MAX_INT32) return [invalid(field, deadline, inclusiveRange(0, MAX_INT32))];
  return typeof old === 'number' && old < deadline
    ? [invalid(field, deadline, 'must be less than or equal to previous value')]
    : [];
}

function validateAddedTolerations(tolerations: readonly Toleration[], old: readonly Toleration[]): FieldError[] {
  const withoutSeconds = ({ tolerationSeconds: _, ...rest }: Toleration) => rest;
  const isKept = (one: Toleration) =>
    tolerations.some((other) => semanticEqual(withoutSeconds(other), withoutSeconds(one)));
  return old.every(isKept)
    ? validateTolerations(tolerations, 'spec.tolerations')
    : [forbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds')];
}

function validateFewerGates(spec: PodSpec, old: PodSpec): FieldError[] {
  const before = new Set((old.schedulingGates ?? []).map((gate) => gate.name));
  return (spec.schedulingGates ?? []).flatMap(({ name }, index) =>
    before.has(name)
      ? []
      : [
          forbidden(
            `spec.schedulingGates[${index}].name`,
            `only deletion is allowed, but found new scheduling gate '${name}'`,
          ),
        ],
  );
}

function validateNodeSelectorAdditions(selector: Record<string, string>, old: Record<string, string>): FieldError[] {
  return Object.entries(old).some(([key, value]) => selector[key] !== value)
    ? [invalid('spec.nodeSelector', selector, 'only additions are allowed (no mutations or deletions)')]
    : [];
}

/** The new spec with everything that may change brought back: what differs still is not allowed. */
function mungeUpdatable(spec: PodSpec, old: PodSpec): PodSpec {
  const keepImages = (containers: Container[] | undefined, before: Container[] | undefined) =>
    containers?.map((container, index) => ({ ...container, image: before?.[index]?.image }));
  const munged: PodSpec = {
    ...spec,
    containers: keepImages(spec.containers, old.containers) ?? [],
    initContainers: keepImages(spec.initContainers, old.initContainers),
  };
  copyField(munged, old, 'activeDeadlineSeconds');
  copyField(munged, old, 'schedulingGates');
  copyField(munged, old, 'tolerations');
  if ((old.terminationGracePeriodSeconds ?? 0) < 0 && munged.terminationGracePeriodSeconds === 1)
    copyField(munged, old, 'terminationGracePeriodSeconds');
  return munged;
}

function copyField<F extends keyof PodSpec>(spec: PodSpec, from: PodSpec, field: F): void {
  if (from[field] === undefined) delete spec[field];
  else spec[field] = from[field];
}

function describeDifference(spec: PodSpec, old: PodSpec): string {
  const fields = new Set([...Object.keys(spec), ...Object.keys(old)]) as Set<keyof PodSpec>;
  return [...fields]
    .filter((field) => !semanticEqual(spec[field], old[field]))
    .flatMap((field) => [
      ...(old[field] === undefined ? [] : [`  - ${field}: ${JSON.stringify(old[field])}`]),
      ...(spec[field] === undefined ? [] : [`  + ${field}: ${JSON.stringify(spec[field])}`]),
    ])
    .join('\n');
}
