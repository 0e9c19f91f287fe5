/** The kernel's numbers behind Kubernetes' CPU and memory settings, for cgroup v1 and v2. Pure. */

const SMALLEST_SHARES = 2;
const LARGEST_SHARES = 262_144;
const SMALLEST_QUOTA_US = 1000;

/** Length of a CFS period unless configured otherwise. */
export const DEFAULT_CPU_PERIOD_US = 100_000;

export interface CgroupLimits {
  /** v1 shares (2…262144); written as a weight on v2. */
  cpuShares?: number;
  /** CPU time per period; 'max': not limited. */
  cpuQuotaUs?: number | 'max';
  cpuPeriodUs?: number;
  memoryBytes?: number | 'max';
  /** v2 only, as the next five: never reclaimed below this. */
  memoryMinBytes?: number;
  /** Reclaimed below this only when nothing else is left. */
  memoryLowBytes?: number;
  /** Throttled above this. */
  memoryHighBytes?: number | 'max';
  /** Swap beside the memory; not where the kernel accounts for none. (v1 has memory and swap as one sum: the Engine sets that.) */
  swapBytes?: number | 'max';
  /** Out of memory, all processes of the cgroup end together. */
  oomGroup?: boolean;
  pids?: number | 'max';
  /** By the kernel's page size name (`2MB`, `1GB`); bytes. */
  hugepageBytes?: Record<string, number | 'max'>;
}

/** One file to be written below a cgroup's directory. */
export interface CgroupWrite {
  controller: string;
  file: string;
  value: string;
  /** Kernels may lack the file; then there is nothing to limit. */
  isOptional?: boolean;
}

/** Shares for a CPU request: 1024 a core, clamped; no request gives the minimum. */
export function cpuShares(requestMillis: number): number {
  return Math.min(LARGEST_SHARES, Math.max(SMALLEST_SHARES, Math.floor((requestMillis * 1024) / 1000)));
}

/** Microseconds of CPU per period for a CPU limit; undefined when there is no limit. */
export function cpuQuotaUs(limitMillis: number, periodUs = DEFAULT_CPU_PERIOD_US): number | undefined {
  if (limitMillis <= 0) return undefined;
  return Math.max(SMALLEST_QUOTA_US, Math.floor((limitMillis * periodUs) / 1000));
}

/** v2 weight (1…10000) for v1 shares (2…262144), linear, as the kubelet writes it. */
export function cpuWeight(shares: number): number {
  return 1 + Math.floor(((shares - SMALLEST_SHARES) * 9999) / (LARGEST_SHARES - SMALLEST_SHARES));
}

/** The files that carry the limits, in the order they must be written (a period before its quota). */
export function renderLimits(version: 1 | 2, limits: CgroupLimits): CgroupWrite[] {
  return version === 1 ? renderV1(limits) : renderV2(limits);
}

function renderV1(limits: CgroupLimits): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const write = (controller: string, file: string, value: number) =>
    writes.push({ controller, file, value: String(value) });
  if (limits.cpuShares !== undefined) write('cpu', 'cpu.shares', limits.cpuShares);
  if (limits.cpuPeriodUs !== undefined) write('cpu', 'cpu.cfs_period_us', limits.cpuPeriodUs);
  if (limits.cpuQuotaUs !== undefined) write('cpu', 'cpu.cfs_quota_us', orMinusOne(limits.cpuQuotaUs));
  if (limits.memoryBytes !== undefined) write('memory', 'memory.limit_in_bytes', orMinusOne(limits.memoryBytes));
  if (limits.pids !== undefined) writes.push({ controller: 'pids', file: 'pids.max', value: String(limits.pids) });
  for (const [size, limit] of Object.entries(limits.hugepageBytes ?? {}))
    write('hugetlb', `hugetlb.${size}.limit_in_bytes`, limit === 'max' ? Number.MAX_SAFE_INTEGER : limit);
  return writes;
}

function renderV2(limits: CgroupLimits): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const write = (controller: string, file: string, value: string | number) =>
    writes.push({ controller, file, value: String(value) });
  const writeIfThere = (file: string, value: string | number) =>
    writes.push({ controller: 'memory', file, value: String(value), isOptional: true });
  if (limits.cpuShares !== undefined) write('cpu', 'cpu.weight', cpuWeight(limits.cpuShares));
  if (limits.cpuQuotaUs !== undefined)
    write('cpu', 'cpu.max', `${limits.cpuQuotaUs} ${limits.cpuPeriodUs ?? DEFAULT_CPU_PERIOD_US}`);
  if (limits.memoryMinBytes !== undefined) write('memory', 'memory.min', limits.memoryMinBytes);
  if (limits.memoryLowBytes !== undefined) write('memory', 'memory.low', limits.memoryLowBytes);
  if (limits.memoryHighBytes !== undefined) write('memory', 'memory.high', limits.memoryHighBytes);
  if (limits.memoryBytes !== undefined) write('memory', 'memory.max', limits.memoryBytes);
  if (limits.swapBytes !== undefined) writeIfThere('memory.swap.max', limits.swapBytes);
  if (limits.oomGroup !== undefined) writeIfThere('memory.oom.group', limits.oomGroup ? 1 : 0);
  if (limits.pids !== undefined) write('pids', 'pids.max', limits.pids);
  for (const [size, limit] of Object.entries(limits.hugepageBytes ?? {}))
    write('hugetlb', `hugetlb.${size}.max`, limit);
  return writes;
}

function orMinusOne(limit: number | 'max'): number {
  return limit === 'max' ? -1 : limit;
}
