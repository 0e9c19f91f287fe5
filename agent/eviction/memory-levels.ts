import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What a cgroup, or the node, has of memory. Bytes. */
export interface MemoryLevel {
  capacityBytes: number;
  /** All that is charged, file pages too. */
  usageBytes: number;
  /** File pages that nobody used lately: they do not count, the kernel takes them back first. */
  inactiveFileBytes: number;
}

/** Capacity less working set, as the eviction signals have it. */
export function availableBytes({ capacityBytes, usageBytes, inactiveFileBytes }: MemoryLevel): number {
  return capacityBytes - Math.max(0, usageBytes - inactiveFileBytes);
}

/** By the names of the files; on v1 `memory.stat` has the sums of the whole tree under names of their own. */
const FILES = {
  1: { usage: 'memory.usage_in_bytes', limit: 'memory.limit_in_bytes', inactive: 'total_inactive_file' },
  2: { usage: 'memory.current', limit: 'memory.max', inactive: 'inactive_file' },
} as const;

/** `memory.limit_in_bytes` of a v1 cgroup without a limit is the largest number of whole pages. */
const UNLIMITED_V1 = 2 ** 62;

/** Of a cgroup with a limit, by its directory in the memory controller's hierarchy; undefined when it is gone or has none. */
export async function readCgroupLevel(directory: string, version: 1 | 2): Promise<MemoryLevel | undefined> {
  const names = FILES[version];
  try {
    const [usage, limit, stat] = await Promise.all(
      [names.usage, names.limit, 'memory.stat'].map((name) => readFile(join(directory, name), 'utf8')),
    );
    const capacityBytes = limit!.trim() === 'max' ? Number.NaN : Number(limit);
    if (!(capacityBytes < UNLIMITED_V1)) return undefined;
    return { capacityBytes, usageBytes: Number(usage), inactiveFileBytes: field(stat!, names.inactive) };
  } catch (error) {
    if (['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/**
 * Of the whole node: what its root cgroup is charged with, and on v2, whose root tells nothing, what is not free.
 * @param directory of the root cgroup in the memory controller's hierarchy
 */
export async function readNodeLevel(directory: string, version: 1 | 2, procRoot = '/proc'): Promise<MemoryLevel> {
  const meminfo = await readFile(join(procRoot, 'meminfo'), 'utf8');
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1] ?? 0) * 1024;
  const capacityBytes = kib('MemTotal');
  if (version === 2)
    return { capacityBytes, usageBytes: capacityBytes - kib('MemFree'), inactiveFileBytes: kib('Inactive\\(file\\)') };
  const [usage, stat] = await Promise.all(
    [FILES[1].usage, 'memory.stat'].map((name) => readFile(join(directory, name), 'utf8')),
  );
  return { capacityBytes, usageBytes: Number(usage), inactiveFileBytes: field(stat!, FILES[1].inactive) };
}

function field(stat: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
}
