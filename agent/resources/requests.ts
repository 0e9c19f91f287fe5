import { parseQuantity } from '../../src/kube/quantity.ts';
import type { Container, Pod } from '../../src/kube/types.ts';

/** Amounts by resource name: millicores for `cpu`, whole units (bytes, counts) for everything else. */
export type ResourceAmounts = Record<string, number>;

interface Requirements {
  requests?: Record<string, string>;
  limits?: Record<string, string>;
}

/** Parses a ResourceList. */
export function amountsOf(list: Record<string, string> | undefined): ResourceAmounts {
  return Object.fromEntries(
    Object.entries(list ?? {}).map(([name, quantity]) => {
      const parsed = parseQuantity(quantity);
      return [name, Number(name === 'cpu' ? parsed.milli : parsed.value)];
    }),
  );
}

/** Requests; a limit without a request is one (the API server defaults it so, static pods have no API server). */
export function requestsOf(resources: Requirements | undefined): ResourceAmounts {
  return { ...amountsOf(resources?.limits), ...amountsOf(resources?.requests) };
}

export function limitsOf(resources: Requirements | undefined): ResourceAmounts {
  return amountsOf(resources?.limits);
}

export function isSidecar(initContainer: Pick<Container, 'restartPolicy'>): boolean {
  return initContainer.restartPolicy === 'Always';
}

/**
 * What the scheduler and the pod cgroup count for a pod: the larger of (all containers with all sidecars) and the
 * greediest moment of the init phase (an init container beside the sidecars started before it), plus overhead.
 * Pod-level requests take the place of the sums.
 */
export function podRequests(pod: Pod): Readonly<ResourceAmounts> {
  const known = knownRequests.get(pod);
  if (known) return known;
  const total = aggregate(pod, (container) => requestsOf(container.resources));
  const requests = plus({ ...total, ...requestsOf(pod.spec.resources) }, amountsOf(pod.spec.overhead));
  knownRequests.set(pod, Object.freeze(requests));
  return requests;
}

/** Each decision of the node adds up all pods, and they seldom change: a new version is a new object. */
const knownRequests = new WeakMap<Pod, Readonly<ResourceAmounts>>();

/** The same for limits. A resource that some container leaves unlimited is summed from the others: see `allLimit`. */
export function podLimits(pod: Pod): ResourceAmounts {
  const total = aggregate(pod, (container) => limitsOf(container.resources));
  const limits: ResourceAmounts = { ...total, ...limitsOf(pod.spec.resources) };
  for (const [name, amount] of Object.entries(amountsOf(pod.spec.overhead))) if (limits[name]) limits[name] += amount;
  return limits;
}

/** Whether the pod as a whole is limited in this resource: every container has a limit, or the pod itself does. */
export function allLimit(pod: Pod, resource: string): boolean {
  if ((limitsOf(pod.spec.resources)[resource] ?? 0) > 0) return true;
  const containers = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
  return containers.every((container) => (limitsOf(container.resources)[resource] ?? 0) > 0);
}

function aggregate(pod: Pod, of: (container: Container) => ResourceAmounts): ResourceAmounts {
  let running: ResourceAmounts = {};
  for (const container of pod.spec.containers) running = plus(running, of(container));
  let sidecars: ResourceAmounts = {};
  let init: ResourceAmounts = {};
  for (const container of pod.spec.initContainers ?? []) {
    const own = of(container);
    if (isSidecar(container)) {
      running = plus(running, own);
      sidecars = plus(sidecars, own);
      init = largest(init, sidecars);
    } else init = largest(init, plus(own, sidecars));
  }
  return largest(running, init);
}

export function plus(left: ResourceAmounts, right: ResourceAmounts): ResourceAmounts {
  const sum = { ...left };
  for (const [name, amount] of Object.entries(right)) sum[name] = (sum[name] ?? 0) + amount;
  return sum;
}

function largest(left: ResourceAmounts, right: ResourceAmounts): ResourceAmounts {
  const most = { ...left };
  for (const [name, amount] of Object.entries(right)) most[name] = Math.max(most[name] ?? 0, amount);
  return most;
}
