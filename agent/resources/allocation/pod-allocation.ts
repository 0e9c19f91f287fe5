import { compareQuantities } from '../../../src/kube/quantity.ts';
import type { Container, Pod, ResourceRequirements } from '../../../src/kube/types.ts';
import { isSidecar } from '../requests.ts';

/** What a pod was given, by the names that upstream's checkpoints use. Plain init containers are never resized. */
export interface PodAllocation {
  ContainerResources: Readonly<Record<string, ResourceRequirements>>;
  PodLevelResources?: ResourceRequirements;
}

/** Containers whose resources may change while they run. */
export function resizableContainers(pod: Pod): Container[] {
  return [...(pod.spec.initContainers ?? []).filter(isSidecar), ...pod.spec.containers];
}

/** All that the pod's spec asks for. */
export function allocationOf(pod: Pod): PodAllocation {
  const { resources } = pod.spec;
  return {
    ContainerResources: Object.fromEntries(resizableContainers(pod).map((one) => [one.name, one.resources ?? {}])),
    ...(resources && { PodLevelResources: resources }),
  };
}

/** The pod with other resources in its spec; the very same pod when nothing differs. */
export function withAllocation(pod: Pod, allocation: PodAllocation): Pod {
  let differs = false;
  const given = (containers: readonly Container[]) =>
    containers.map((container) => {
      const resources = allocation.ContainerResources[container.name];
      if (!resources || sameRequirements(container.resources, resources)) return container;
      differs = true;
      return { ...container, resources };
    });
  const initContainers = pod.spec.initContainers && given(pod.spec.initContainers);
  const containers = given(pod.spec.containers);
  const podLevel = allocation.PodLevelResources;
  differs ||= !sameRequirements(pod.spec.resources, podLevel);
  if (!differs) return pod;
  const { resources: _asked, ...spec } = pod.spec;
  return {
    ...pod,
    spec: { ...spec, containers, ...(initContainers && { initContainers }), ...(podLevel && { resources: podLevel }) },
  };
}

/** By value: `1000m` is `1`, no list is an empty one. */
export function sameRequirements(
  one: ResourceRequirements | undefined,
  other: ResourceRequirements | undefined,
): boolean {
  return one === other || (sameAmounts(one?.requests, other?.requests) && sameAmounts(one?.limits, other?.limits));
}

function sameAmounts(one: Record<string, string> = {}, other: Record<string, string> = {}): boolean {
  const names = Object.keys(one);
  if (names.length !== Object.keys(other).length) return false;
  return names.every((name) => {
    const amount = other[name];
    return amount !== undefined && (amount === one[name] || compareQuantities(one[name]!, amount) === 0);
  });
}
