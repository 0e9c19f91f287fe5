import { join } from 'node:path';
import { createOpenFiles, readKernelFile } from '../open-files.ts';
import type { CgroupHierarchies } from './hierarchies.ts';
import { samplerV1 } from './sampler-v1.ts';
import { samplerV2 } from './sampler-v2.ts';
import type { DeviceIo, Pressure } from './stat-text.ts';

/** What is not told by this kernel, or for this cgroup, is undefined. Counters run since the cgroup was made. */
export interface CpuTimes {
  usageNanos: number;
  userNanos?: number | undefined;
  systemNanos?: number | undefined;
  periods?: number | undefined;
  throttledPeriods?: number | undefined;
  throttledNanos?: number | undefined;
}

/** Bytes, of the cgroup and all below it. */
export interface MemoryUse {
  usageBytes: number;
  /** Usage without file pages that nobody has used lately. */
  workingSetBytes: number;
  rssBytes?: number | undefined;
  pageFaults?: number | undefined;
  majorPageFaults?: number | undefined;
  /** v1 only; v2 has a file of its own for it. */
  swapBytes?: number | undefined;
  /** `memory.stat` as it was read, for who needs more of it: see `parseMemoryDetail`. */
  stat: string;
}

export interface CgroupLimitsRead {
  cpuShares?: number | undefined;
  cpuQuotaUs?: number | undefined;
  cpuPeriodUs?: number | undefined;
  memoryBytes?: number | undefined;
  /** Swap alone, on v1 too. */
  swapBytes?: number | undefined;
  /** v1's soft limit, v2's memory.low. */
  reservationBytes?: number | undefined;
}

export interface MemoryEvents {
  /** How often the limit was met. */
  max?: number | undefined;
  high?: number | undefined;
  oomKills?: number | undefined;
}

/** Statistics of cgroups by their path below the mounts. Every call is synchronous and takes microseconds; none throws for a cgroup that is gone. */
export interface CgroupSampler {
  readonly version: 1 | 2;
  /** `detailed`: user and system apart; `throttling` where there is a quota. v2 tells all at once. */
  cpu(path: string, more?: { detailed?: boolean; throttling?: boolean }): CpuTimes | undefined;
  memory(path: string): MemoryUse | undefined;
  /** Of the root of v2, which does not tell its usage itself. */
  rootMemory(usageBytes: number): MemoryUse | undefined;
  /** Processes and threads. */
  tasks(path: string): number | undefined;
  /** v2 only; v1 tells it in `memory`. */
  swap(path: string): number | undefined;
  io(path: string): Map<string, DeviceIo> | undefined;
  /** v2 only, where the kernel keeps it. */
  pressure(path: string, resource: 'cpu' | 'memory' | 'io'): Pressure | undefined;
  peakMemory(path: string): number | undefined;
  kernelMemory(path: string, stat: string): number | undefined;
  memoryEvents(path: string): MemoryEvents;
  limits(path: string): CgroupLimitsRead;
  /** Its own processes, without those of cgroups below. 0 stands for one of another pid namespace. */
  processes(path: string): number[];
  /** Forgets cgroups that nobody asks for any more. */
  retain(paths: ReadonlySet<string>): void;
  close(): void;
}

/** Files of a cgroup by controller and name; undefined when there are none. */
export interface SamplerReader {
  /** For what every pass reads. */
  keep(path: string, controller: string, file: string): string | undefined;
  once(path: string, controller: string, file: string): string | undefined;
}

/** What the two versions tell each in their own way. */
export type Readings = Omit<CgroupSampler, 'version' | 'processes' | 'retain' | 'close'>;

/** Of the files that are read again and again. 100 pods with a container each have 1100 of them, and 1700 where somebody scrapes them. */
const KEPT_FILES = 2000;

export function createCgroupSampler(
  hierarchies: CgroupHierarchies,
  /** `keptFiles`: the most that may stay open, where that is less than is of use. */
  options: { keptFiles?: number } = {},
): CgroupSampler {
  const files = createOpenFiles(Math.min(KEPT_FILES, options.keptFiles ?? KEPT_FILES));
  /** Directories by controller and path: joined once. */
  const names = new Map<string, Map<string, string>>();
  const nameOf = (path: string, controller: string, file: string) => {
    const own = names.get(path) ?? new Map<string, string>();
    if (own.size === 0) names.set(path, own);
    const known = own.get(file);
    if (known !== undefined) return known;
    const directory = hierarchies.controllers.get(controller);
    // Without the controller there is no file.
    const name = directory === undefined ? '' : join(directory, path, file);
    own.set(file, name);
    return name;
  };
  const read: SamplerReader = {
    keep(path, controller, file) {
      const name = nameOf(path, controller, file);
      return name === '' ? undefined : files.read(name);
    },
    once(path, controller, file) {
      const name = nameOf(path, controller, file);
      return name === '' ? undefined : readKernelFile(name);
    },
  };
  return {
    version: hierarchies.version,
    ...(hierarchies.version === 1 ? samplerV1(read) : samplerV2(read)),
    processes(path) {
      const text = read.once(path, hierarchies.version === 1 ? 'memory' : 'cpu', 'cgroup.procs') ?? '';
      return text.split('\n').filter(Boolean).map(Number);
    },
    retain(paths) {
      const wanted = new Set<string>();
      for (const [path, own] of names) {
        if (!paths.has(path)) names.delete(path);
        else for (const name of own.values()) wanted.add(name);
      }
      files.retain((name) => wanted.has(name));
    },
    close: () => files.close(),
  };
}
