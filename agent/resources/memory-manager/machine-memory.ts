import { binarySize } from '../hugepages.ts';
import type { NumaNode } from '../topology/machine.ts';
import type { MachineMemory, MemoryBlock, MemoryState } from './memory-state.ts';

/** Reserved bytes: NUMA node → resource name → bytes. */
export type ReservedMemory = ReadonlyMap<number, ReadonlyMap<string, number>>;

/** The machine's memory with nothing given out. Pure. */
export function buildMachineMemory(nodes: readonly NumaNode[], reserved: ReservedMemory): MachineMemory {
  return Object.fromEntries(
    nodes.map(({ id, memoryBytes, hugepages }) => {
      const table = (type: string, total: number, usable: number) => {
        const systemReserved = reserved.get(id)?.get(type) ?? 0;
        const allocatable = Math.max(0, usable - systemReserved);
        return { total, systemReserved, allocatable, reserved: 0, free: allocatable };
      };
      const inHugepages = [...hugepages.values()].reduce((sum, total) => sum + total, 0);
      const types = [...hugepages].map(([size, total]) => {
        const type = `hugepages-${binarySize(size)}`;
        return [type, table(type, total, total)] as const;
      });
      const memoryMap = {
        ...Object.fromEntries(types),
        memory: table('memory', memoryBytes, memoryBytes - inHugepages),
      };
      return [id, { numberOfAssignments: 0, memoryMap, cells: [id] }];
    }),
  );
}

/** Takes `size` bytes from the nodes, the first ones first; they are used together from now on. Changes `machine`. */
export function takeMemory(machine: MachineMemory, { numaAffinity, type, size }: MemoryBlock): void {
  let missing = size;
  for (const id of numaAffinity) {
    const node = machine[id];
    if (!node) continue;
    node.numberOfAssignments++;
    node.cells = [...numaAffinity];
    const table = node.memoryMap[type];
    const taken = Math.min(missing, table?.free ?? 0);
    if (!table || taken === 0) continue;
    table.free -= taken;
    table.reserved += taken;
    missing -= taken;
  }
}

/** The reverse; a node that nobody uses any more stands alone again. Changes `machine`. */
export function giveMemoryBack(machine: MachineMemory, { numaAffinity, type, size }: MemoryBlock): void {
  let left = size;
  for (const id of numaAffinity) {
    const node = machine[id];
    if (!node) continue;
    node.numberOfAssignments--;
    if (node.numberOfAssignments === 0) node.cells = [id];
    const table = node.memoryMap[type];
    const released = Math.min(left, table?.reserved ?? 0);
    if (!table || released === 0) continue;
    table.free += released;
    table.reserved -= released;
    left -= released;
  }
}

/**
 * Why the agent cannot go on from a state on this machine; undefined when it can. What is free on a single node of a group depends on who came and went;
 * the group's sum does not. Pure.
 */
export function whyMemoryDiffers(state: MemoryState, empty: MachineMemory): string | undefined {
  const expected = structuredClone(empty);
  for (const [uid, containers] of state.entries)
    for (const [name, blocks] of containers)
      for (const block of blocks) {
        const whose = `container ${name} of pod ${uid}`;
        for (const id of block.numaAffinity) {
          if (!expected[id]) return `${whose} has memory of NUMA node ${id}, which this machine does not have`;
          if (!expected[id].memoryMap[block.type])
            return `${whose} has ${block.type}, which this machine does not have`;
        }
        takeMemory(expected, block);
      }
  const ids = Object.keys(expected);
  if (ids.join() !== Object.keys(state.machine).join())
    return `the machine has the NUMA nodes ${ids.join(', ')}, the file knows ${Object.keys(state.machine).join(', ')}`;
  for (const [id, node] of Object.entries(expected)) {
    const written = state.machine[Number(id)]!;
    if (written.numberOfAssignments !== node.numberOfAssignments || !sameNodes(written.cells, node.cells))
      return `the use of NUMA node ${id} does not follow from the containers' memory`;
    for (const type of new Set([...Object.keys(node.memoryMap), ...Object.keys(written.memoryMap)]))
      for (const field of ['total', 'systemReserved', 'allocatable'] as const)
        if (written.memoryMap[type]?.[field] !== node.memoryMap[type]?.[field])
          return `${field} of ${type} on NUMA node ${id} is ${node.memoryMap[type]?.[field]} bytes now and ${written.memoryMap[type]?.[field]} in the file`;
    for (const type of Object.keys(node.memoryMap))
      for (const field of ['free', 'reserved'] as const)
        if (sum(state.machine, node.cells, type, field) !== sum(expected, node.cells, type, field))
          return `${field} ${type} on NUMA node ${id} does not follow from the containers' memory`;
  }
  return undefined;
}

function sum(machine: MachineMemory, ids: readonly number[], type: string, field: 'free' | 'reserved'): number {
  return ids.reduce((total, id) => total + (machine[id]?.memoryMap[type]?.[field] ?? 0), 0);
}

/** Whether two lists hold the same nodes. */
export function sameNodes(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((id) => right.includes(id));
}
