import type { Readings, SamplerReader } from './sampler.ts';
import { keyedNumber, limitAt, numberAt, parseBlkio, times } from './stat-text.ts';

/** cpuacct.stat counts in USER_HZ, which is 100 on Linux whatever the kernel's own. */
const NANOS_PER_TICK = 10_000_000;

/** What the files of v1 tell; see `CgroupSampler`. */
export function samplerV1({ keep, once }: SamplerReader): Readings {
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
