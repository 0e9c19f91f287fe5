import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CpuPlace, MachineTopology } from '../../agent/resources/topology/machine.ts';
import { formatCpuList } from '../../src/linux/cpu-list.ts';

export interface MachineShape {
  sockets?: number;
  numaPerSocket?: number;
  coresPerNuma?: number;
  threads?: number;
  /** Cores that share a last-level cache; all of a NUMA node unless said. */
  coresPerCache?: number;
  /** Core n is in socket n modulo sockets, as some firmware counts. */
  interleaved?: boolean;
  memoryBytes?: number;
  hugepages?: ReadonlyMap<number, number>;
  /** NUMA nodes without CPUs, after the others. */
  memoryOnly?: number;
}

/** A machine with its CPUs numbered as Linux usually does: all first threads, then all second ones. */
export function machineOf(shape: MachineShape = {}): MachineTopology {
  const { sockets = 1, numaPerSocket = 1, coresPerNuma = 4, threads = 1, memoryBytes = 16 * 2 ** 30 } = shape;
  const nodes = sockets * numaPerSocket;
  const cores = nodes * coresPerNuma;
  const cpus = new Map<number, CpuPlace>();
  for (let cpu = 0; cpu < cores * threads; cpu++) {
    const core = cpu % cores;
    const numa = shape.interleaved ? core % nodes : Math.floor(core / coresPerNuma);
    const perCache = shape.coresPerCache ?? coresPerNuma;
    const uncore = shape.interleaved ? numa : Math.floor(core / perCache) * perCache;
    cpus.set(cpu, { core, numa, socket: Math.floor(numa / numaPerSocket), uncore });
  }
  const numaNodes = Array.from({ length: nodes + (shape.memoryOnly ?? 0) }, (_, id) => ({
    id,
    memoryBytes,
    hugepages: shape.hugepages ?? new Map<number, number>(),
    distances: Array.from({ length: nodes + (shape.memoryOnly ?? 0) }, (__, other) => 10 + 2 * Math.abs(id - other)),
  }));
  return { cpus, numaNodes };
}

/** Writes the machine as the kernel shows it, below `<root>/devices/system`. */
export async function writeSysfs(root: string, { cpus, numaNodes }: MachineTopology): Promise<void> {
  const write = async (path: string, text: string) => {
    const file = join(root, 'devices/system', path);
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, `${text}\n`);
  };
  const sharing = (cpu: number, level: keyof CpuPlace) =>
    formatCpuList([...cpus].filter(([, place]) => place[level] === cpus.get(cpu)?.[level]).map(([one]) => one));
  await write('cpu/online', formatCpuList(cpus.keys()));
  for (const [cpu, place] of cpus) {
    await write(`cpu/cpu${cpu}/topology/physical_package_id`, String(place.socket));
    await write(`cpu/cpu${cpu}/topology/core_cpus_list`, sharing(cpu, 'core'));
    await write(`cpu/cpu${cpu}/cache/index0/level`, '1');
    await write(`cpu/cpu${cpu}/cache/index0/shared_cpu_list`, sharing(cpu, 'core'));
    await write(`cpu/cpu${cpu}/cache/index3/level`, '3');
    await write(`cpu/cpu${cpu}/cache/index3/shared_cpu_list`, sharing(cpu, 'uncore'));
  }
  for (const { id, memoryBytes, hugepages, distances } of numaNodes) {
    await write(
      `node/node${id}/cpulist`,
      formatCpuList([...cpus].filter(([, { numa }]) => numa === id).map(([cpu]) => cpu)),
    );
    await write(
      `node/node${id}/meminfo`,
      `Node ${id} MemTotal:       ${memoryBytes / 1024} kB\nNode ${id} MemFree: 1 kB`,
    );
    await write(`node/node${id}/distance`, distances.join(' '));
    for (const [size, total] of hugepages)
      await write(`node/node${id}/hugepages/hugepages-${size / 1024}kB/nr_hugepages`, String(total / size));
  }
}
