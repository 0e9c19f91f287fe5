import { bytes, cpuMillis } from '../../src/kube/quantity.ts';
import type { Container, Pod, Quantity } from '../../src/kube/types.ts';

/** Amounts by resource name: cpu in millicores, everything else in its whole unit (bytes, pieces). */
export type Amounts = ReadonlyMap<string, number>;

/** What a pod without a request is taken to use when nodes are compared (not when they are filtered). */
const NON_ZERO: Record<'cpu' | 'memory', number> = { cpu: 100, memory: 200 * 1024 * 1024 };

export function parseAmounts(quantities: Record<string, Quantity> | undefined): Map<string, number> {
  return new Map(Object.entries(quantities ?? {}).map(([name, quantity]) => [name, amountOf(name, quantity)]));
}

function amountOf(name: string, quantity: Quantity): number {
  return name === 'cpu' ? cpuMillis(quantity) : bytes(quantity);
}

/** `into` + `amounts`, in place. A factor of -1 subtracts. */
export function addAmounts(into: Map<string, number>, amounts: Amounts, factor = 1): void {
  for (const [name, amount] of amounts) into.set(name, (into.get(name) ?? 0) + factor * amount);
}

const requestsOf = new WeakMap<Pod, Amounts>();
const nonZeroOf = new WeakMap<Pod, { cpu: number; memory: number }>();

/**
 * What a pod asks of its node (KEP-753's rule): containers and sidecars together, or the largest init step, plus overhead.
 * While a resize is under way, the node has set aside what was asked before too (KEP-1287).
 */
export function podRequests(pod: Pod): Amounts {
  const known = requestsOf.get(pod);
  if (known) return known;
  const amounts = totalOf(pod, (container) => reservedFor(pod, container));
  const { allocatedResources, resources } = pod.status ?? {};
  const whole =
    pod.spec.resources && largestOf(pod, pod.spec.resources.requests, allocatedResources, resources?.requests);
  for (const [name, amount] of whole ?? []) amounts.set(name, amount);
  addAmounts(amounts, parseAmounts(pod.spec.overhead));
  requestsOf.set(pod, amounts);
  return amounts;
}

/** CPU and memory for scoring: containers that ask for nothing count with a little. */
export function nonZeroRequests(pod: Pod): { cpu: number; memory: number } {
  const known = nonZeroOf.get(pod);
  if (known) return known;
  const amounts = totalOf(pod, (container) => {
    const requests = reservedFor(pod, container);
    for (const name of ['cpu', 'memory'] as const) if (!requests.get(name)) requests.set(name, NON_ZERO[name]);
    return requests;
  });
  const result = { cpu: amounts.get('cpu') ?? 0, memory: amounts.get('memory') ?? 0 };
  nonZeroOf.set(pod, result);
  return result;
}

/** The largest of what a container asks for, what was set aside for it and what it runs with. */
function reservedFor(pod: Pod, container: Container): Map<string, number> {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  const status = [...containerStatuses, ...initContainerStatuses].find(({ name }) => name === container.name);
  return largestOf(pod, container.resources?.requests, status?.allocatedResources, status?.resources?.requests);
}

/** Whatever a resize asks for that this node can never give, it is not reserved. */
function largestOf(
  pod: Pod,
  asked: Record<string, Quantity> | undefined,
  allocated: Record<string, Quantity> | undefined,
  actual: Record<string, Quantity> | undefined,
): Map<string, number> {
  const pending = pod.status?.conditions?.find(({ type }) => type === 'PodResizePending');
  const isInfeasible = pending?.reason === 'Infeasible' && (allocated ?? actual) !== undefined;
  const largest = parseAmounts(isInfeasible ? {} : asked);
  for (const list of [allocated, actual]) takeLarger(largest, parseAmounts(list));
  return largest;
}

function totalOf(pod: Pod, amountsOf: (container: Container) => Map<string, number>): Map<string, number> {
  const running = new Map<string, number>();
  for (const container of pod.spec.containers) addAmounts(running, amountsOf(container));
  const sidecars = new Map<string, number>();
  const largestStep = new Map<string, number>();
  for (const container of pod.spec.initContainers ?? []) {
    const step = amountsOf(container);
    const isSidecar = container.restartPolicy === 'Always';
    if (isSidecar) {
      addAmounts(running, step);
      addAmounts(sidecars, step);
      takeLarger(largestStep, sidecars);
    } else {
      addAmounts(step, sidecars);
      takeLarger(largestStep, step);
    }
  }
  takeLarger(running, largestStep);
  return running;
}

function takeLarger(into: Map<string, number>, amounts: Amounts): void {
  for (const [name, amount] of amounts) into.set(name, Math.max(into.get(name) ?? 0, amount));
}
