import type { CpuSet } from '../../../src/linux/cpu-list.ts';
import type { TopologyHint } from '../topology/hint-provider.ts';
import {
  countNumaNodes,
  forEachNumaSubset,
  isWithin,
  type NumaMask,
  numaMask,
  numaNodesOf,
} from '../topology/numa-mask.ts';
import { type CpuTopology, groupCpus } from './cpu-topology.ts';

/**
 * Sets of NUMA nodes from which `count` CPUs can be had, of which `reusable` ones must all be in reach. Preferred are the sets with as few nodes as
 * the machine allows for that number (not: as are free now). Pure.
 * @param alignBySocket prefers also those that touch no more sockets than needed.
 */
export function computeCpuHints(
  topology: CpuTopology,
  available: CpuSet,
  reusable: CpuSet,
  count: number,
  alignBySocket: boolean,
): TopologyHint[] {
  const { numaNodes } = topology;
  const all = sizes(topology, topology.all);
  const free = sizes(topology, available.union(reusable));
  const mustHave = numaMask(groupCpus(topology, reusable, 'numa').keys());
  let least = numaNodes.length;
  const masks: NumaMask[] = [];
  forEachNumaSubset(numaNodes, (mask) => {
    const nodes = numaNodesOf(mask);
    if (sum(all, nodes) >= count) least = Math.min(least, nodes.length);
    if (isWithin(mustHave, mask) && sum(free, nodes) >= count) masks.push(mask);
  });
  return masks.map((mask) => ({
    numaNodes: mask,
    preferred: countNumaNodes(mask) === least || (alignBySocket && isSocketAligned(topology, mask, least)),
  }));
}

function isSocketAligned(topology: CpuTopology, mask: NumaMask, least: number): boolean {
  const nodesPerSocket = Math.floor(topology.numaNodes.length / topology.sockets.length);
  if (nodesPerSocket === 0) return false;
  return socketsOf(topology, mask).size === Math.ceil(least / nodesPerSocket);
}

/** The sockets that have CPUs on these nodes. */
export function socketsOf(topology: CpuTopology, mask: NumaMask): Set<number> {
  const nodes = new Set(numaNodesOf(mask));
  return new Set([...topology.places.values()].filter(({ numa }) => nodes.has(numa)).map(({ socket }) => socket));
}

function sizes(topology: CpuTopology, cpus: CpuSet): Map<number, number> {
  return new Map([...groupCpus(topology, cpus, 'numa')].map(([node, inNode]) => [node, inNode.length]));
}

function sum(sizeOf: ReadonlyMap<number, number>, nodes: readonly number[]): number {
  return nodes.reduce((total, node) => total + (sizeOf.get(node) ?? 0), 0);
}
