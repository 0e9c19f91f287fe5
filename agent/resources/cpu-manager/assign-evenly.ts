import type { CpuSet } from '../../../src/linux/cpu-list.ts';
import { type AssignOptions, NotEnoughCpusError, packCpus } from './assign.ts';
import { type CpuTopology, groupCpus } from './cpu-topology.ts';

/** Which nodes give how many CPUs. */
interface Distribution {
  nodes: readonly number[];
  /** From each of them. */
  each: number;
  /** What is over comes from these, a group at a time in turn. */
  remainderFrom: readonly number[];
  /** How uneven the nodes of the machine are filled afterwards; less is better. */
  imbalance: number;
}

/**
 * `distribute-cpus-across-numa`: from as few NUMA nodes as can be, evenly from each, in groups of `groupSize`; of several choices the one that
 * leaves the machine's nodes most evenly filled. What cannot be distributed is packed. Pure.
 * @throws NotEnoughCpusError
 */
function distributeCpus(topology: CpuTopology, available: CpuSet, count: number, options: AssignOptions): Set<number> {
  const { groupSize = 1 } = options;
  const pack = (from: CpuSet, number: number) =>
    packCpus(topology, from, number, { ...(options.spreadAcrossCores && { spreadAcrossCores: true }) });
  if (count < 1) return new Set();
  if (count > available.size) throw new NotEnoughCpusError(count, available.size);
  if (count % groupSize !== 0) return pack(available, count);
  const free = new Map([...groupCpus(topology, available, 'numa')].map(([node, cpus]) => [node, cpus.length]));
  const best = findDistribution(topology, free, count, groupSize);
  if (!best) return pack(available, count);

  const taken = new Set<number>();
  const takeFrom = (node: number, number: number) => {
    const inNode = new Set([...available].filter((cpu) => topology.places.get(cpu)?.numa === node && !taken.has(cpu)));
    for (const cpu of pack(inNode, number)) taken.add(cpu);
    return inNode.size - number;
  };
  const left = new Map(best.nodes.map((node) => [node, takeFrom(node, best.each)]));
  let remainder = count - best.each * best.nodes.length;
  while (remainder > 0)
    for (const node of best.remainderFrom) {
      if (remainder === 0 || left.get(node)! < groupSize) continue;
      left.set(node, takeFrom(node, groupSize));
      remainder -= groupSize;
    }
  return taken;
}

/** Picks CPUs by the policy's options. Pure. @throws NotEnoughCpusError */
export function assignCpus(
  topology: CpuTopology,
  available: CpuSet,
  count: number,
  options: AssignOptions = {},
): Set<number> {
  const assign = options.spreadAcrossNuma ? distributeCpus : packCpus;
  return assign(topology, available, count, options);
}

function findDistribution(
  topology: CpuTopology,
  free: ReadonlyMap<number, number>,
  count: number,
  groupSize: number,
): Distribution | undefined {
  // Those with fewest free CPUs first, as everywhere.
  const nodes = [...free.keys()].sort((left, right) => free.get(left)! - free.get(right)! || left - right);
  const groupsPerNode = Math.ceil(Math.ceil(topology.all.size / groupSize) / topology.numaNodes.length);
  const groups = Math.ceil(count / groupSize);
  const most = Math.min(groups, nodes.length);
  for (let size = Math.ceil(groups / groupsPerNode); size <= most; size++) {
    let best: Distribution | undefined;
    for (const combination of combinations(nodes, size)) {
      if (best?.imbalance === 0) break;
      const one = distribute(combination, nodes, free, count, groupSize);
      if (one && (!best || one.imbalance < best.imbalance)) best = one;
    }
    if (best) return best;
  }
  return undefined;
}

function distribute(
  combination: readonly number[],
  nodes: readonly number[],
  free: ReadonlyMap<number, number>,
  count: number,
  groupSize: number,
): Distribution | undefined {
  const groups = combination.reduce((sum, node) => sum + Math.floor(free.get(node)! / groupSize), 0);
  if (groups * groupSize < count) return undefined;
  const each = Math.floor(count / combination.length / groupSize) * groupSize;
  if (combination.some((node) => free.get(node)! < each)) return undefined;
  const after = new Map(nodes.map((node) => [node, free.get(node)! - (combination.includes(node) ? each : 0)]));
  const remainder = count - each * combination.length;
  if (remainder === 0) return { nodes: combination, each, remainderFrom: [], imbalance: deviation(after.values()) };
  const givers = combination.filter((node) => after.get(node)! >= groupSize);
  let best: Distribution | undefined;
  // From many rather than from few.
  for (let size = givers.length; size >= 1; size--)
    for (const remainderFrom of combinations(givers, size)) {
      const afterAll = handOut(after, remainderFrom, remainder, groupSize);
      if (!afterAll) continue;
      const imbalance = deviation(afterAll.values());
      if (!best || imbalance < best.imbalance) best = { nodes: combination, each, remainderFrom, imbalance };
    }
  return best;
}

/** What is left free on each node, or undefined when these givers do not have it in whole groups. */
function handOut(after: ReadonlyMap<number, number>, givers: readonly number[], remainder: number, groupSize: number) {
  const groups = givers.reduce((sum, node) => sum + Math.floor(after.get(node)! / groupSize), 0);
  if (groups * groupSize < remainder) return undefined;
  const left = new Map(after);
  let missing = remainder;
  while (missing > 0)
    for (const node of givers) {
      if (missing === 0 || left.get(node)! < groupSize) continue;
      left.set(node, left.get(node)! - groupSize);
      missing -= groupSize;
    }
  return left;
}

/** Standard deviation to three digits, so that rounding decides nothing. */
function deviation(values: Iterable<number>): number {
  const list = [...values];
  const round = (value: number) => Math.round(value * 1000) / 1000;
  const mean = round(list.reduce((sum, value) => sum + value, 0) / list.length);
  return round(Math.sqrt(list.reduce((sum, value) => sum + (value - mean) ** 2, 0) / list.length));
}

/** All choices of `size` of them, in order. */
function* combinations(items: readonly number[], size: number, from = 0): Generator<number[]> {
  if (size === 0) {
    yield [];
    return;
  }
  for (let index = from; index <= items.length - size; index++)
    for (const rest of combinations(items, size - 1, index + 1)) yield [items[index]!, ...rest];
}
