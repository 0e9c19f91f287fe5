import type { Container, Pod, ResourceRequirements } from '../../../src/kube/types.ts';
import { allLimit, podLimits, podRequests } from '../../resources/requests.ts';

const RESOURCES = ['cpu', 'memory'] as const;
type ResourceName = (typeof RESOURCES)[number];

/**
 * The pod that its cgroup has to hold while its containers go from `before` to `after`: of each resource the larger of the two,
 * since no container may ever be allowed more than its pod (the kernel refuses such a CPU quota on cgroup v1). Once the containers are there,
 * the cgroup is that of `after`. The very same pod as `after` when nothing shrinks.
 */
export function computeStepPod(before: Pod, after: Pod): Pod {
  const shrinking = RESOURCES.filter((name) => shrinks(name, before, after));
  if (shrinking.length === 0) return after;
  const old = new Map([...(before.spec.initContainers ?? []), ...before.spec.containers].map((one) => [one.name, one]));
  const mixed = (containers: Container[]) =>
    containers.map((container) => {
      const resources = mix(container.resources, old.get(container.name)?.resources, shrinking);
      return { ...container, resources };
    });
  const { resources, initContainers, containers } = after.spec;
  return {
    ...after,
    spec: {
      ...after.spec,
      containers: mixed(containers),
      ...(initContainers && { initContainers: mixed(initContainers) }),
      ...((resources ?? before.spec.resources) && { resources: mix(resources, before.spec.resources, shrinking) }),
    },
  };
}

/** Of the limit, if the pod as a whole has one; of the request (its share of the CPU) otherwise. */
function shrinks(name: ResourceName, before: Pod, after: Pod): boolean {
  const limited = [before, after].map((pod) => allLimit(pod, name));
  if (limited[0] !== limited[1]) return limited[1]!;
  const amounts = limited[0] ? podLimits : podRequests;
  return (amounts(after)[name] ?? 0) < (amounts(before)[name] ?? 0);
}

function mix(
  after: ResourceRequirements = {},
  before: ResourceRequirements = {},
  fromBefore: readonly string[],
): ResourceRequirements {
  const part = (now: Record<string, string> = {}, then: Record<string, string> = {}) => {
    const kept = Object.entries(now).filter(([name]) => !fromBefore.includes(name));
    return Object.fromEntries([...kept, ...Object.entries(then).filter(([name]) => fromBefore.includes(name))]);
  };
  return { ...after, requests: part(after.requests, before.requests), limits: part(after.limits, before.limits) };
}
