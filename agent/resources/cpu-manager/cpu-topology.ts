import type { CpuSet } from '../../../src/linux/cpu-list.ts';
import type { CpuPlace, MachineTopology } from '../topology/machine.ts';

/** What CPUs can share, from near to far. */
export type CpuLevel = keyof CpuPlace;

/** The machine's CPUs, as the assignment looks at them. */
export interface CpuTopology {
  readonly places: ReadonlyMap<number, CpuPlace>;
  readonly all: CpuSet;
  /** Threads of one core: 1 without SMT. */
  readonly cpusPerCore: number;
  /** Of nodes that have CPUs; ascending. */
  readonly numaNodes: readonly number[];
  readonly sockets: readonly number[];
}

/** Derives what the assignment asks for from the machine. Pure. */
export function buildCpuTopology({ cpus }: Pick<MachineTopology, 'cpus'>): CpuTopology {
  const all = new Set(cpus.keys());
  const idsOf = (level: CpuLevel) => [...groupCpus({ places: cpus }, all, level).keys()];
  return {
    places: cpus,
    all,
    cpusPerCore: Math.max(1, Math.floor(all.size / Math.max(1, idsOf('core').length))),
    numaNodes: idsOf('numa'),
    sockets: idsOf('socket'),
  };
}

/** The CPUs by what they share: unit → its CPUs among these; both ascending. */
export function groupCpus(
  { places }: Pick<CpuTopology, 'places'>,
  cpus: Iterable<number>,
  level: CpuLevel,
): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (const cpu of [...cpus].sort((left, right) => left - right)) {
    const unit = places.get(cpu)?.[level];
    if (unit === undefined) continue;
    const group = groups.get(unit);
    if (group) group.push(cpu);
    else groups.set(unit, [cpu]);
  }
  return new Map([...groups].sort(([left], [right]) => left - right));
}

/** Those of the CPUs that lie in one of the units. */
export function cpusIn(topology: CpuTopology, cpus: CpuSet, level: CpuLevel, units: Iterable<number>): Set<number> {
  const wanted = new Set(units);
  return new Set([...cpus].filter((cpu) => wanted.has(topology.places.get(cpu)?.[level] ?? -1)));
}
