import type { CpuSet } from '../../../src/linux/cpu-list.ts';
import { type CpuLevel, type CpuTopology, groupCpus } from './cpu-topology.ts';

export interface AssignOptions {
  /** `distribute-cpus-across-cores`: single threads of many cores instead of whole cores. */
  spreadAcrossCores?: boolean;
  /** `distribute-cpus-across-numa`: where one node is not enough, evenly from several. */
  spreadAcrossNuma?: boolean;
  /** `prefer-align-cpus-by-uncorecache`. */
  alignByUncoreCache?: boolean;
  /** CPUs are handed out to NUMA nodes in groups of this size: the threads of a core with `full-pcpus-only`, else 1. */
  groupSize?: number;
}

/** Fewer CPUs are free than asked for. */
export class NotEnoughCpusError extends Error {
  override readonly name = 'NotEnoughCpusError';
  constructor(requested: number, available: number) {
    super(`not enough cpus available to satisfy request: requested=${requested}, available=${available}`);
  }
}

/** What is still free and what has been picked, while an assignment is being worked out. */
interface Picking {
  readonly topology: CpuTopology;
  readonly free: Set<number>;
  readonly taken: Set<number>;
  needed: number;
  /** Wider level first: NUMA nodes that hold several sockets, or sockets that hold several NUMA nodes. */
  readonly outer: readonly [CpuLevel, CpuLevel];
}

/**
 * Best fit by topology, as the kubelet does it: whole NUMA nodes and sockets, whole caches if asked for, whole cores, single threads; of equals
 * the fullest unit, then the lowest number. Pure.
 * @throws NotEnoughCpusError
 */
export function packCpus(
  topology: CpuTopology,
  available: CpuSet,
  count: number,
  options: Omit<AssignOptions, 'spreadAcrossNuma' | 'groupSize'> = {},
): Set<number> {
  const outer: Picking['outer'] =
    topology.sockets.length >= topology.numaNodes.length ? ['numa', 'socket'] : ['socket', 'numa'];
  const pick: Picking = { topology, free: new Set(available), taken: new Set(), needed: count, outer };
  if (count < 1) return pick.taken;
  if (count > available.size) throw new NotEnoughCpusError(count, available.size);
  takeWhole(pick, [outer[0]]);
  takeWhole(pick, outer);
  if (options.alignByUncoreCache) takeCaches(pick);
  if (!options.spreadAcrossCores) takeWhole(pick, [...outer, 'core']);
  takeSingle(pick, options.spreadAcrossCores ? socketLevels(pick) : [...outer, 'core']);
  return pick.taken;
}

function take(pick: Picking, cpus: Iterable<number>): void {
  for (const cpu of cpus) {
    pick.free.delete(cpu);
    pick.taken.add(cpu);
    pick.needed--;
  }
}

/** The free CPUs by unit of the last level, units ordered level by level: fewest free first, then by number. */
function orderUnits(
  pick: Picking,
  levels: readonly CpuLevel[],
  within: Iterable<number> = pick.free,
): [number, number[]][] {
  const [level, ...inner] = levels;
  const units = [...groupCpus(pick.topology, within, level!)].sort(
    ([left, ofLeft], [right, ofRight]) => ofLeft.length - ofRight.length || left - right,
  );
  return inner.length === 0 ? units : units.flatMap(([, cpus]) => orderUnits(pick, inner, cpus));
}

/** Takes every unit of the last level that is wholly free and not larger than what is needed. */
function takeWhole(pick: Picking, levels: readonly CpuLevel[]): void {
  if (pick.needed < 1) return;
  const sizes = groupCpus(pick.topology, pick.topology.all, levels.at(-1)!);
  for (const [unit, cpus] of orderUnits(pick, levels))
    if (cpus.length === sizes.get(unit)?.length && cpus.length <= pick.needed) take(pick, cpus);
}

function takeSingle(pick: Picking, levels: readonly CpuLevel[]): void {
  for (const [, cpus] of orderUnits(pick, levels)) take(pick, cpus.slice(0, Math.max(0, pick.needed)));
}

function socketLevels({ outer }: Picking): readonly CpuLevel[] {
  return outer[0] === 'socket' ? ['socket'] : outer;
}

/** Whole last-level caches, then the rest from a single one, if one has it. */
function takeCaches(pick: Picking): void {
  const levels: CpuLevel[] = pick.outer[0] === 'numa' ? ['numa', 'uncore'] : [...pick.outer, 'uncore'];
  takeWhole(pick, levels);
  for (const [, cpus] of orderUnits(pick, levels)) {
    if (pick.needed < 1) return;
    takePartOfCache(pick, cpus);
  }
}

function takePartOfCache(pick: Picking, cpus: readonly number[]): void {
  const { cpusPerCore } = pick.topology;
  const cores = [...groupCpus(pick.topology, cpus, 'core').values()].slice(0, Math.ceil(pick.needed / cpusPerCore));
  const free = cores.flat().sort((left, right) => left - right);
  // An odd number of threads leaves one thread of the last core to others.
  if (pick.needed % 2 !== 0 && cpusPerCore > 1 && free.length > pick.needed) free.pop();
  if (free.length === pick.needed) take(pick, free);
}
