import type { Container, Pod, PodSpec, ResourceRequirements } from '../../../src/kube/types.ts';
import type { ObjectSubresource } from '../../apiserver/definition.ts';
import { type FieldError, forbidden, invalid } from '../../apiserver/field-error.ts';
import { semanticEqual } from '../equality.ts';
import { MIRROR_POD_ANNOTATION } from './admission.ts';
import { qosClassOf } from './qos.ts';

const LISTS = ['containers', 'initContainers'] as const;
const isSidecar = (container: Container | undefined) => container?.restartPolicy === 'Always';

/**
 * GET, PUT, PATCH pods/NAME/resize: cpu and memory of a pod that exists. Whatever else a client sends is brought back to
 * what is stored; containers under other names, or in another order, are refused instead.
 */
export function resizeSubresource(validatePod: (pod: Pod) => FieldError[]): ObjectSubresource<Pod> {
  return {
    style: 'object',
    verbs: ['get', 'update', 'patch'],
    prepareForUpdate(pod, old) {
      const asked = pod.spec;
      const { resourceVersion } = pod.metadata;
      Object.assign(pod, structuredClone(old));
      pod.metadata.resourceVersion = resourceVersion;
      for (const list of LISTS) {
        const containers = mergeResources(asked[list], old.spec[list]);
        if (containers) Object.assign(pod.spec, { [list]: containers });
      }
      if (!isEmpty(asked.resources)) pod.spec.resources = asked.resources;
      else delete pod.spec.resources;
      if (!semanticEqual(pod.spec, old.spec)) pod.metadata.generation = (old.metadata.generation ?? 0) + 1;
    },
    validateUpdate: (pod, old) => validateResize(pod, old, validatePod),
  };
}

/** Resources and resize policies as asked for, all else as it was. What does not fit together is left to validation. */
function mergeResources(asked: Container[] | undefined, old: readonly Container[] = []): Container[] | undefined {
  if (asked?.length !== old.length || asked.some(({ name }, index) => name !== old[index]?.name)) return asked;
  return old.map((container, index) => {
    const { resources: before, resizePolicy: _policy, ...rest } = container;
    const { resources: now, resizePolicy } = asked[index]!;
    // Many clients write `resources: {}` where nothing was.
    const resources = isEmpty(now) && isEmpty(before) ? before : now;
    return { ...structuredClone(rest), ...(resources && { resources }), ...(resizePolicy && { resizePolicy }) };
  });
}

function isEmpty(resources: ResourceRequirements | undefined): boolean {
  const { requests = {}, limits = {}, claims = [] } = resources ?? {};
  return Object.keys(requests).length + Object.keys(limits).length + claims.length === 0;
}

/** Upstream's ValidatePodResize. */
function validateResize(pod: Pod, old: Pod, validatePod: (pod: Pod) => FieldError[]): FieldError[] {
  if (old.metadata.annotations?.[MIRROR_POD_ANNOTATION] !== undefined)
    return [forbidden('', 'static pods cannot be resized')];
  if (old.spec.os?.name === 'windows') return [forbidden('', 'windows pods cannot be resized')];
  const misplaced = validateOrder(pod.spec, old.spec);
  if (misplaced.length > 0) return misplaced;
  const errors = validatePod(pod);
  const qosClass = old.status?.qosClass ?? qosClassOf(old.spec);
  if (qosClassOf(pod.spec) !== qosClass)
    errors.push(invalid('spec', qosClass, 'Pod QOS Class may not change as a result of resizing'));
  if (!isSupportedByNode(old)) errors.push(forbidden('spec', 'Pod running on node without support for resize'));
  errors.push(...validateKept(pod.spec.resources, old.spec.resources, 'spec.resources'));
  if (!sameButComputeResources(pod.spec.resources, old.spec.resources))
    errors.push(forbidden('spec', 'only cpu and memory resources are mutable at pod-level'));
  for (const list of LISTS)
    (old.spec[list] ?? []).forEach((before, index) => {
      errors.push(...validateContainer(pod.spec[list]![index]!, before, list, index));
    });
  return errors;
}

function validateOrder(spec: PodSpec, old: PodSpec): FieldError[] {
  return LISTS.flatMap((list) => {
    const [now, before] = [spec[list] ?? [], old[list] ?? []];
    if (now.length !== before.length)
      return [forbidden(`spec.${list}`, `${list} may not be added or removed on resize`)];
    return before.flatMap(({ name }, index) =>
      now[index]!.name === name
        ? []
        : [forbidden(`spec.${list}[${index}].name`, `${list} may not be renamed or reordered on resize`)],
    );
  });
}

function validateContainer(
  now: Container,
  before: Container,
  list: (typeof LISTS)[number],
  index: number,
): FieldError[] {
  if (list === 'initContainers' && !isSidecar(before))
    return semanticEqual(now, before)
      ? []
      : [forbidden('spec', 'resources for non-sidecar init containers are immutable')];
  const errors = validateKept(now.resources, before.resources, `spec.${list}[${index}].resources`);
  const whose = list === 'initContainers' ? ' for sidecar containers' : '';
  if (
    !sameButComputeResources(now.resources, before.resources) ||
    !semanticEqual(now.resizePolicy ?? [], before.resizePolicy ?? [])
  )
    errors.push(forbidden('spec', `only cpu and memory resources${whose} are mutable`));
  return errors;
}

/** A resize changes amounts and may add some; it takes none away. */
function validateKept(
  now: ResourceRequirements | undefined,
  before: ResourceRequirements | undefined,
  field: string,
): FieldError[] {
  return (['requests', 'limits'] as const).flatMap((part) => {
    const names = Object.keys(before?.[part] ?? {});
    return names.every((name) => now?.[part]?.[name] !== undefined)
      ? []
      : [forbidden(`${field}.${part}`, `resource ${part} cannot be removed`)];
  });
}

function sameButComputeResources(
  now: ResourceRequirements | undefined,
  before: ResourceRequirements | undefined,
): boolean {
  const others = (list: Record<string, string> = {}) => {
    const { cpu: _cpu, memory: _memory, ...rest } = list;
    return rest;
  };
  const same = (['requests', 'limits'] as const).every((part) =>
    semanticEqual(others(now?.[part]), others(before?.[part])),
  );
  return same && semanticEqual(now?.claims ?? [], before?.claims ?? []);
}

/** A node that can resize tells of each running container what it has been given. */
function isSupportedByNode(pod: Pod): boolean {
  const running = pod.status?.containerStatuses?.find(({ state }) => state?.running);
  return !running || running.resources !== undefined;
}
