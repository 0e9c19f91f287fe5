import type { MemoryUse, Readings, SamplerReader } from './sampler.ts';
import { keyedNumber, limitAt, numberAt, parseCpuMax, parseIoStat, parsePressure, times } from './stat-text.ts';

/** What the files of v2 tell; see `CgroupSampler`. */
export function samplerV2({ keep, once }: SamplerReader): Readings {
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

/** The inverse of `cpuWeight`: weights are told as the shares that they stand for. */
function sharesOfWeight(weight: number): number {
  return Math.floor(2 + ((weight - 1) * 262_142) / 9999);
}
