import type { TopologyHint } from '../topology/hint-provider.ts';
import { countNumaNodes, forEachNumaSubset, isNarrower, type NumaMask, numaNodesOf } from '../topology/numa-mask.ts';
import { sameNodes } from './machine-memory.ts';
import type { MachineMemory } from './memory-state.ts';

/** Resource name → bytes. */
export type MemoryRequest = ReadonlyMap<string, number>;

/**
 * Sets of NUMA nodes that have all kinds of memory asked for; the same for each kind. A node that is used alone is not used with others at the same
 * time, nor the other way round: memory of a group could else be gone when one of its nodes is asked for it. Preferred are as few nodes as the
 * machine allows. Pure.
 * @param reusableOn bytes of that kind which the pod's ended init containers leave on just these nodes
 */
export function computeMemoryHints(
  machine: MachineMemory,
  request: MemoryRequest,
  reusableOn: (mask: NumaMask, type: string) => number,
): TopologyHint[] {
  const nodes = Object.keys(machine).map(Number);
  const masks: NumaMask[] = [];
  let least = nodes.length;
  forEachNumaSubset(nodes, (mask) => {
    const members = numaNodesOf(mask);
    const sum = (type: string, field: 'free' | 'allocatable') =>
      members.reduce((total, id) => total + (machine[id]!.memoryMap[type]?.[field] ?? 0), 0);
    for (const [type, size] of request) if (sum(type, 'allocatable') < size) return;
    least = Math.min(least, members.length);
    if (!canUseTogether(machine, members)) return;
    for (const [type, size] of request) if (sum(type, 'free') + reusableOn(mask, type) < size) return;
    masks.push(mask);
  });
  return masks.map((mask) => ({ numaNodes: mask, preferred: countNumaNodes(mask) === least }));
}

/** Whether nobody uses one of the nodes alone, or with others than these. */
export function canUseTogether(machine: MachineMemory, nodes: readonly number[]): boolean {
  if (nodes.length === 1) return machine[nodes[0]!]!.cells.length === 1;
  return nodes.every((id) => machine[id]!.numberOfAssignments === 0 || sameNodes(machine[id]!.cells, nodes));
}

/** Whether these nodes have it free. */
export function hasFree(machine: MachineMemory, mask: NumaMask, request: MemoryRequest): boolean {
  const nodes = numaNodesOf(mask);
  return [...request].every(
    ([type, size]) => nodes.reduce((total, id) => total + (machine[id]?.memoryMap[type]?.free ?? 0), 0) >= size,
  );
}

/** Preferred before others, then the narrower. */
export function bestHint(hints: readonly TopologyHint[]): TopologyHint | undefined {
  return hints.reduce<TopologyHint | undefined>((best, hint) => {
    if (!best) return hint;
    if (hint.preferred !== best.preferred) return hint.preferred ? hint : best;
    return isNarrower(hint.numaNodes!, best.numaNodes!) ? hint : best;
  }, undefined);
}
