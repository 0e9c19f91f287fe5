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
    return { capacityBytes, usageBytes: Number(usage), inactiveFileBytes: parseField(stat!, names.inactive) };
  } catch (error) {
    if (['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** Of the whole node, by the text of /proc/meminfo. */
export function parseNodeLevel(meminfo: string): MemoryLevel {
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1] ?? 0) * 1024;
  return {
    capacityBytes: kib('MemTotal'),
    usageBytes: kib('MemTotal') - kib('MemFree'),
    inactiveFileBytes: kib('Inactive\\(file\\)'),
  };
}

function parseField(stat: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
}
