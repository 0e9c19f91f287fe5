import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CpuSet, parseCpuList } from '../../../src/linux/cpu-list.ts';
import { parseMeminfo } from '../../node/host-facts.ts';

/** Where one logical CPU sits. Numbers are unique in the machine: a core and a cache are named by their lowest CPU. */
export interface CpuPlace {
  readonly core: number;
  readonly socket: number;
  readonly numa: number;
  /** The last-level cache that it shares ("uncore"). */
  readonly uncore: number;
}

/** One NUMA node; it may have memory only, or CPUs only. */
export interface NumaNode {
  readonly id: number;
  readonly memoryBytes: number;
  /** Preallocated huge pages: page size in bytes → bytes in total. */
  readonly hugepages: ReadonlyMap<number, number>;
  /** To each node of the machine, in the order of their numbers; 10 is here. */
  readonly distances: readonly number[];
}

/** The machine as the kernel draws it, online CPUs only. */
export interface MachineTopology {
  readonly cpus: ReadonlyMap<number, CpuPlace>;
  /** Ascending by id. */
  readonly numaNodes: readonly NumaNode[];
}

/**
 * Reads `devices/system/{cpu,node}` below `sysRoot` and, where the kernel has no NUMA, the memory of `procRoot`.
 * @throws Error that names the file that is missing or cannot be understood.
 */
export async function readMachineTopology(sysRoot = '/sys', procRoot = '/proc'): Promise<MachineTopology> {
  const cpuRoot = join(sysRoot, 'devices/system/cpu');
  const online = await readList(join(cpuRoot, 'online'));
  const { nodes, numaOf } = await readNumaNodes(sysRoot, procRoot, online);
  const places = await Promise.all(
    [...online].map(async (cpu) => [cpu, await readPlace(join(cpuRoot, `cpu${cpu}`), cpu, online, numaOf)] as const),
  );
  return { cpus: new Map(places), numaNodes: nodes };
}

async function readPlace(
  directory: string,
  cpu: number,
  online: CpuSet,
  numaOf: ReadonlyMap<number, number>,
): Promise<CpuPlace> {
  const topology = join(directory, 'topology');
  // Virtual machines of some architectures have no package (-1).
  const socket = Math.max(0, Number((await readText(join(topology, 'physical_package_id'))) ?? 0));
  const siblings =
    (await readText(join(topology, 'core_cpus_list'))) ?? (await readText(join(topology, 'thread_siblings_list')));
  const core = lowest(siblings === undefined ? undefined : parseAt(topology, siblings).intersection(online)) ?? cpu;
  return { core, socket, numa: numaOf.get(cpu) ?? 0, uncore: (await readUncore(directory, online)) ?? socket };
}

/** The level 3 cache; a machine without one counts as if all CPUs of a socket shared it. */
async function readUncore(directory: string, online: CpuSet): Promise<number | undefined> {
  for (const name of await listDirectory(join(directory, 'cache'))) {
    if ((await readText(join(directory, 'cache', name, 'level'))) !== '3') continue;
    const shared = await readText(join(directory, 'cache', name, 'shared_cpu_list'));
    if (shared !== undefined) return lowest(parseAt(directory, shared).intersection(online));
  }
  return undefined;
}

async function readNumaNodes(sysRoot: string, procRoot: string, online: CpuSet) {
  const directory = join(sysRoot, 'devices/system/node');
  const ids = (await listDirectory(directory)).flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  const numaOf = new Map<number, number>();
  if (ids.length === 0) {
    for (const cpu of online) numaOf.set(cpu, 0);
    const memoryBytes = parseMeminfo((await readText(join(procRoot, 'meminfo'))) ?? '').MemTotal ?? 0;
    const hugepages = await readHugepages(join(sysRoot, 'kernel/mm/hugepages'));
    return { nodes: [{ id: 0, memoryBytes, hugepages, distances: [10] }], numaOf };
  }
  const nodes = await Promise.all(
    ids
      .sort((left, right) => left - right)
      .map(async (id): Promise<NumaNode> => {
        const node = join(directory, `node${id}`);
        for (const cpu of await readList(join(node, 'cpulist'))) numaOf.set(cpu, id);
        return {
          id,
          memoryBytes: parseNodeMeminfo((await readText(join(node, 'meminfo'))) ?? ''),
          hugepages: await readHugepages(join(node, 'hugepages')),
          distances: ((await readText(join(node, 'distance'))) ?? '').split(/\s+/).filter(Boolean).map(Number),
        };
      }),
  );
  return { nodes, numaOf };
}

/** `Node 0 MemTotal:  16384 kB` → bytes. */
function parseNodeMeminfo(text: string): number {
  return Number(/MemTotal:\s+(\d+) kB/.exec(text)?.[1] ?? 0) * 1024;
}

async function readHugepages(directory: string): Promise<Map<number, number>> {
  const pages = new Map<number, number>();
  for (const name of (await listDirectory(directory)).sort()) {
    const size = /^hugepages-(\d+)kB$/.exec(name)?.[1];
    if (size === undefined) continue;
    const sizeBytes = Number(size) * 1024;
    pages.set(sizeBytes, Number((await readText(join(directory, name, 'nr_hugepages'))) ?? 0) * sizeBytes);
  }
  return pages;
}

async function readList(path: string): Promise<CpuSet> {
  const text = await readText(path);
  if (text === undefined) throw new Error(`cannot tell the CPUs of this machine: ${path} does not exist`);
  return parseAt(path, text);
}

function parseAt(path: string, text: string): CpuSet {
  try {
    return parseCpuList(text);
  } catch (error) {
    throw new Error(`${path} holds no list of CPUs: ${(error as Error).message}`, { cause: error });
  }
}

function lowest(cpus: CpuSet | undefined): number | undefined {
  return cpus && cpus.size > 0 ? Math.min(...cpus) : undefined;
}

async function listDirectory(path: string): Promise<string[]> {
  return readdir(path).catch(() => []);
}

async function readText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );
}
