import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupHierarchies } from './hierarchies.ts';

/** Moves processes into a cgroup, in these directories of hierarchies; the cgroup must be there. Processes that have ended meanwhile are left out. */
export async function attachProcesses(
  directories: readonly string[],
  path: string,
  pids: readonly number[],
): Promise<void> {
  for (const directory of directories)
    for (const pid of pids)
      await writeFile(join(directory, path, 'cgroup.procs'), String(pid)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ESRCH') throw error;
      });
}

/** Processes of this very cgroup, not of those below it. Empty where it is not. */
export async function processesIn(directory: string, path: string): Promise<number[]> {
  const text = await readFile(join(directory, path, 'cgroup.procs'), 'utf8').catch(() => '');
  return text.split('\n').filter(Boolean).map(Number);
}

/** The directories of hierarchies whose controllers limit and count: one on v2. */
export function limitingDirectories({ controllers }: Pick<CgroupHierarchies, 'controllers'>): string[] {
  const names = ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids'];
  return [...new Set(names.flatMap((name) => controllers.get(name) ?? []))];
}
