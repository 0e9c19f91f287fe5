import { join } from 'node:path';
import { createOpenFiles, readKernelFile } from '../open-files.ts';
import type { CgroupHierarchies } from './hierarchies.ts';
import {
  type DeviceIo,
  keyedNumber,
  limitAt,
  numberAt,
  type Pressure,
  parseBlkio,
  parseCpuMax,
  parseIoStat,
  parsePressure,
} from './stat-text.ts';

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
  const read: Reader = {
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

interface Reader {
  /** For what every pass reads. */
  keep(path: string, controller: string, file: string): string | undefined;
  once(path: string, controller: string, file: string): string | undefined;
}

type Readings = Omit<CgroupSampler, 'version' | 'processes' | 'retain' | 'close'>;

/** cpuacct.stat counts in USER_HZ, which is 100 on Linux whatever the kernel's own. */
const NANOS_PER_TICK = 10_000_000;

function samplerV1({ keep, once }: Reader): Readings {
  const number = (path: string, controller: string, file: string) => {
    const text = once(path, controller, file);
    return text === undefined ? undefined : numberAt(text, 1);
  };
  const limit = (path: string, controller: string, file: string) => {
    const text = once(path, controller, file);
    return text === undefined ? undefined : limitAt(text, 1);
  };
  return {
    cpu(path, { detailed = false, throttling = false } = {}) {
      const text = keep(path, 'cpuacct', 'cpuacct.usage');
      const usageNanos = text === undefined ? undefined : numberAt(text, 1);
      if (usageNanos === undefined) return undefined;
      const ticks = detailed ? (keep(path, 'cpuacct', 'cpuacct.stat') ?? '') : '';
      const stat = throttling ? (keep(path, 'cpu', 'cpu.stat') ?? '') : '';
      return {
        usageNanos,
        userNanos: times(keyedNumber(ticks, 'user'), NANOS_PER_TICK),
        systemNanos: times(keyedNumber(ticks, 'system'), NANOS_PER_TICK),
        periods: keyedNumber(stat, 'nr_periods'),
        throttledPeriods: keyedNumber(stat, 'nr_throttled'),
        throttledNanos: keyedNumber(stat, 'throttled_time'),
      };
    },
    memory(path) {
      const usage = keep(path, 'memory', 'memory.usage_in_bytes');
      const usageBytes = usage === undefined ? undefined : numberAt(usage, 1);
      const stat = usageBytes === undefined ? undefined : keep(path, 'memory', 'memory.stat');
      if (usageBytes === undefined || stat === undefined) return undefined;
      return {
        usageBytes,
        workingSetBytes: Math.max(0, usageBytes - (keyedNumber(stat, 'total_inactive_file') ?? 0)),
        rssBytes: keyedNumber(stat, 'total_rss'),
        pageFaults: keyedNumber(stat, 'total_pgfault'),
        majorPageFaults: keyedNumber(stat, 'total_pgmajfault'),
        swapBytes: keyedNumber(stat, 'total_swap'),
        stat,
      };
    },
    rootMemory: () => undefined,
    tasks(path) {
      const text = keep(path, 'pids', 'pids.current');
      return text === undefined ? undefined : numberAt(text, 1);
    },
    swap: () => undefined,
    io(path) {
      // CFQ's successor counts only what it schedules itself; the throttling layer sees everything.
      const bytes = once(path, 'blkio', 'blkio.throttle.io_service_bytes_recursive');
      if (bytes === undefined) return undefined;
      return parseBlkio(bytes, once(path, 'blkio', 'blkio.throttle.io_serviced_recursive') ?? '');
    },
    pressure: () => undefined,
    peakMemory: (path) => number(path, 'memory', 'memory.max_usage_in_bytes'),
    kernelMemory: (path) => number(path, 'memory', 'memory.kmem.usage_in_bytes'),
    memoryEvents: (path) => ({
      max: number(path, 'memory', 'memory.failcnt'),
      oomKills: keyedNumber(once(path, 'memory', 'memory.oom_control') ?? '', 'oom_kill'),
    }),
    limits(path) {
      const memoryBytes = limit(path, 'memory', 'memory.limit_in_bytes');
      const both = limit(path, 'memory', 'memory.memsw.limit_in_bytes');
      return {
        cpuShares: number(path, 'cpu', 'cpu.shares'),
        // −1, no limit, is no digit.
        cpuQuotaUs: number(path, 'cpu', 'cpu.cfs_quota_us'),
        cpuPeriodUs: number(path, 'cpu', 'cpu.cfs_period_us'),
        memoryBytes,
        ...(both !== undefined && memoryBytes !== undefined && { swapBytes: Math.max(0, both - memoryBytes) }),
        reservationBytes: limit(path, 'memory', 'memory.soft_limit_in_bytes'),
      };
    },
  };
}

function samplerV2({ keep, once }: Reader): Readings {
  const number = (path: string, controller: string, file: string) => {
    const text = once(path, controller, file);
    return text === undefined ? undefined : numberAt(text, 1);
  };
  return {
    cpu(path) {
      const stat = keep(path, 'cpu', 'cpu.stat');
      const usageUs = stat === undefined ? undefined : keyedNumber(stat, 'usage_usec');
      if (stat === undefined || usageUs === undefined) return undefined;
      return {
        usageNanos: usageUs * 1000,
        userNanos: times(keyedNumber(stat, 'user_usec'), 1000),
        systemNanos: times(keyedNumber(stat, 'system_usec'), 1000),
        periods: keyedNumber(stat, 'nr_periods'),
        throttledPeriods: keyedNumber(stat, 'nr_throttled'),
        throttledNanos: times(keyedNumber(stat, 'throttled_usec'), 1000),
      };
    },
    memory(path) {
      const usage = keep(path, 'memory', 'memory.current');
      const usageBytes = usage === undefined ? undefined : numberAt(usage, 1);
      return usageBytes === undefined ? undefined : memoryV2(usageBytes, keep(path, 'memory', 'memory.stat'));
    },
    rootMemory: (usageBytes) => memoryV2(usageBytes, keep('/', 'memory', 'memory.stat')),
    tasks(path) {
      const text = keep(path, 'pids', 'pids.current');
      return text === undefined ? undefined : numberAt(text, 1);
    },
    swap: (path) => number(path, 'memory', 'memory.swap.current'),
    io(path) {
      const text = once(path, 'io', 'io.stat');
      return text === undefined ? undefined : parseIoStat(text);
    },
    pressure(path, resource) {
      const text = once(path, resource, `${resource}.pressure`);
      return text === undefined ? undefined : parsePressure(text);
    },
    peakMemory: (path) => number(path, 'memory', 'memory.peak'),
    kernelMemory(_, stat) {
      const whole = keyedNumber(stat, 'kernel');
      if (whole !== undefined) return whole;
      // Before 5.18 it is told in parts.
      const [slab, stack] = [keyedNumber(stat, 'slab'), keyedNumber(stat, 'kernel_stack')];
      return slab === undefined || stack === undefined ? undefined : slab + stack;
    },
    memoryEvents(path) {
      const text = once(path, 'memory', 'memory.events') ?? '';
      return {
        max: keyedNumber(text, 'max'),
        high: keyedNumber(text, 'high'),
        oomKills: keyedNumber(text, 'oom_kill'),
      };
    },
    limits(path) {
      const { quotaUs, periodUs } = parseCpuMax(once(path, 'cpu', 'cpu.max') ?? '');
      const weight = number(path, 'cpu', 'cpu.weight');
      const limit = (file: string) => limitAt(once(path, 'memory', file) ?? '', 1);
      return {
        cpuShares: weight === undefined ? undefined : sharesOfWeight(weight),
        cpuQuotaUs: quotaUs,
        cpuPeriodUs: periodUs,
        memoryBytes: limit('memory.max'),
        swapBytes: limit('memory.swap.max'),
        reservationBytes: limit('memory.low'),
      };
    },
  };
}

function memoryV2(usageBytes: number, stat: string | undefined): MemoryUse | undefined {
  if (stat === undefined) return undefined;
  return {
    usageBytes,
    workingSetBytes: Math.max(0, usageBytes - (keyedNumber(stat, 'inactive_file') ?? 0)),
    rssBytes: keyedNumber(stat, 'anon'),
    pageFaults: keyedNumber(stat, 'pgfault'),
    majorPageFaults: keyedNumber(stat, 'pgmajfault'),
    stat,
  };
}

function times(value: number | undefined, factor: number): number | undefined {
  return value === undefined ? undefined : value * factor;
}

/** The inverse of `cpuWeight`: weights are told as the shares that they stand for. */
function sharesOfWeight(weight: number): number {
  return Math.floor(2 + ((weight - 1) * 262_142) / 9999);
}
