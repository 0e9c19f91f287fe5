import { bytes } from '../../../src/kube/quantity.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { NumaNode } from '../topology/machine.ts';
import type { ReservedMemory } from './machine-memory.ts';

/** One item of `reservedMemory`. */
export interface MemoryReservation {
  numaNode: number;
  limits: Readonly<Record<string, string>>;
}

/**
 * What stays with the system on each NUMA node. In sum it must be just what the node holds back from its allocatable memory: the scheduler and the
 * memory manager would else count differently.
 * @param heldBackBytes kubeReserved, systemReserved and the hard eviction threshold of memory together
 * @throws ExplainedError that names the reservation
 */
export function computeReservedMemory(
  nodes: readonly Pick<NumaNode, 'id'>[],
  reservations: readonly MemoryReservation[],
  heldBackBytes: number,
): ReservedMemory {
  const reserved = new Map<number, Map<string, number>>(nodes.map(({ id }) => [id, new Map()]));
  const totals = new Map<string, number>([['memory', 0]]);
  for (const { numaNode, limits } of reservations) {
    const node = reserved.get(numaNode);
    if (!node)
      throw new ExplainedError(
        `reservedMemory references NUMA node ${numaNode}, which does not exist on this machine (it has ${[...reserved.keys()].join(', ')})`,
      );
    for (const [type, quantity] of Object.entries(limits)) {
      node.set(type, bytes(quantity));
      totals.set(type, (totals.get(type) ?? 0) + bytes(quantity));
    }
  }
  for (const [type, total] of totals) {
    const expected = type === 'memory' ? heldBackBytes : 0;
    if (total !== expected)
      throw new ExplainedError(
        `the total of reservedMemory for ${type} is ${total} bytes; accepted: ${expected} bytes, ${
          type === 'memory'
            ? 'the sum of memory in kubeReserved, systemReserved and evictionHard memory.available'
            : 'since no huge pages are held back from pods'
        }`,
      );
  }
  if (totals.get('memory') === 0)
    throw new ExplainedError(
      'memoryManagerPolicy "Static" needs memory that stays with the system: set reservedMemory, and memory in kubeReserved or systemReserved',
    );
  return reserved;
}
