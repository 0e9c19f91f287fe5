import type { Pod } from '../../../src/kube/types.ts';
import { sameRequirements } from '../../resources/allocation/pod-allocation.ts';
import { podQosClass } from '../../resources/qos.ts';
import { plus, podRequests } from '../../resources/requests.ts';
import { isStaticPod } from '../annotations.ts';

/** What this node can do about a resize. */
export interface ResizingNode {
  cpuMillis: number;
  memoryBytes: number;
  /** Policies under which a Guaranteed pod's CPUs or memory are its own, on certain cores and NUMA nodes. */
  cpuManagerIsStatic: boolean;
  memoryManagerIsStatic: boolean;
  /** The container may swap: how much follows from its memory request when it starts. */
  maySwap(pod: Pod, container: string): boolean;
}

/** Why a resize does not happen: now (it is tried again), or ever on this node. */
export interface ResizeRefusal {
  reason: 'Deferred' | 'Infeasible';
  message: string;
  /** For the metric of infeasible ones. */
  detail?: string;
}

/** Decides whether the node sets aside what the pod asks for in place of what it has; undefined: it does. Pure. */
export function decideResize(
  asked: Pod,
  allocated: Pod,
  others: readonly Pod[],
  node: ResizingNode,
): ResizeRefusal | undefined {
  return whyNever(asked, allocated, node) ?? whyNotNow(asked, others, node);
}

function whyNever(asked: Pod, allocated: Pod, node: ResizingNode): ResizeRefusal | undefined {
  const infeasible = (detail: string, message: string): ResizeRefusal => ({ reason: 'Infeasible', message, detail });
  if (isStaticPod(asked)) return infeasible('static_pod', 'In-place resize of static-pods is not supported');
  if (changesSwap(asked, allocated, node))
    return infeasible('swap_limitation', 'In-place resize of containers with swap is not supported.');
  if (podQosClass(asked) === 'Guaranteed') {
    const text = (manager: string) => `Resize is infeasible for Guaranteed Pods alongside ${manager} policy`;
    if (node.cpuManagerIsStatic && changes(asked, allocated, 'cpu'))
      return infeasible('guaranteed_pod_cpu_manager_static_policy', `${text('CPU Manager')} "static"`);
    if (node.memoryManagerIsStatic && changes(asked, allocated, 'memory'))
      return infeasible('guaranteed_pod_memory_manager_static_policy', `${text('Memory Manager')} "Static"`);
  }
  const { cpu = 0, memory = 0 } = podRequests(asked);
  const lacks = (name: string, requested: number, capacity: number) =>
    infeasible(
      'insufficient_node_allocatable',
      `Node didn't have enough capacity: ${name}, requested: ${requested}, capacity: ${capacity}`,
    );
  if (memory > node.memoryBytes) return lacks('memory', memory, node.memoryBytes);
  if (cpu > node.cpuMillis) return lacks('cpu', cpu, node.cpuMillis);
  return undefined;
}

function whyNotNow(asked: Pod, others: readonly Pod[], node: ResizingNode): ResizeRefusal | undefined {
  const requests = podRequests(asked);
  const used = others.map(podRequests).reduce(plus, {});
  for (const [name, capacity] of [
    ['cpu', node.cpuMillis],
    ['memory', node.memoryBytes],
  ] as const) {
    const [requested, taken] = [requests[name] ?? 0, used[name] ?? 0];
    if (taken + requested <= capacity) continue;
    const message = `Node didn't have enough resource: ${name}, requested: ${requested}, used: ${taken}, capacity: ${capacity}`;
    return { reason: 'Deferred', message };
  }
  return undefined;
}

/** Requests of a Guaranteed pod are its limits. */
function changes(asked: Pod, allocated: Pod, resource: 'cpu' | 'memory'): boolean {
  const only = (pod: Pod) => [pod.spec, ...containersOf(pod)].map(({ resources }) => resources?.requests?.[resource]);
  const [now, before] = [only(asked), only(allocated)];
  return now.some((amount, index) => {
    const list = (one: string | undefined) => ({ requests: one === undefined ? {} : { [resource]: one } });
    return !sameRequirements(list(amount), list(before[index]));
  });
}

function changesSwap(asked: Pod, allocated: Pod, node: ResizingNode): boolean {
  const before = new Map(containersOf(allocated).map((container) => [container.name, container]));
  return containersOf(asked).some(({ name, resources, resizePolicy }) => {
    const memory = (one: typeof resources) => ({ requests: { memory: one?.requests?.['memory'] ?? '0' } });
    if (sameRequirements(memory(resources), memory(before.get(name)?.resources))) return false;
    const restarts = resizePolicy?.some(
      (policy) => policy.resourceName === 'memory' && policy.restartPolicy === 'RestartContainer',
    );
    return !restarts && (node.maySwap(asked, name) || node.maySwap(allocated, name));
  });
}

function containersOf({ spec }: Pod) {
  return [...(spec.initContainers ?? []), ...spec.containers];
}
