import type { Pod } from '../../../src/kube/types.ts';
import type { Rejection } from '../../pods/admission-ports.ts';
import { binarySize } from '../hugepages.ts';
import type { NodeResources } from '../node-resources.ts';
import { plus, podRequests, type ResourceAmounts } from '../requests.ts';

/** A resource of which the pod asks for more than is left. */
export interface Shortage {
  resource: string;
  requested: number;
  used: number;
  capacity: number;
}

/** What a pod takes of a resource; of `pods` it takes one. */
export function requestOf(pod: Pod, resource: string): number {
  return resource === 'pods' ? 1 : (podRequests(pod)[resource] ?? 0);
}

/** Everything that the pods, cpu, memory, storage and huge pages of the node do not suffice for. Pure. */
export function findShortages(pod: Pod, others: readonly Pod[], allocatable: NodeResources): Shortage[] {
  const hugepages = Object.keys(podRequests(pod)).filter((name) => name.startsWith('hugepages-'));
  const capacity: ResourceAmounts = {
    pods: allocatable.pods,
    cpu: allocatable.cpuMillis,
    memory: allocatable.memoryBytes,
    'ephemeral-storage': allocatable.ephemeralStorageBytes,
    // A size that the node has no pages of is one of which it has none.
    ...Object.fromEntries(hugepages.map((name) => [name, 0])),
    ...Object.fromEntries([...allocatable.hugepages].map(([size, bytes]) => [`hugepages-${binarySize(size)}`, bytes])),
  };
  return findLack(pod, others, capacity);
}

/** The same for extended resources. Those that this node knows nothing of are not its to refuse (upstream's). */
export function findExtendedShortages(pod: Pod, others: readonly Pod[], allocatable: NodeResources): Shortage[] {
  return findLack(pod, others, Object.fromEntries(allocatable.extended ?? []));
}

function findLack(pod: Pod, others: readonly Pod[], capacities: ResourceAmounts): Shortage[] {
  const taken = others.map(podRequests).reduce(plus, {});
  return Object.entries(capacities).flatMap(([resource, capacity]) => {
    const requested = requestOf(pod, resource);
    const used = resource === 'pods' ? others.length : (taken[resource] ?? 0);
    return requested > 0 && used + requested > capacity ? [{ resource, requested, used, capacity }] : [];
  });
}

export function rejectShortage({ resource, requested, used, capacity }: Shortage): Rejection {
  return {
    reason: `OutOf${resource}`,
    message: `Node didn't have enough resource: ${resource}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
  };
}
