import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const CGROUP_ROOT = '/sys/fs/cgroup';

/** The hierarchies a process can be moved in: one folder on cgroup v2, one per controller on v1. */
function hierarchies(): string[] {
  if (existsSync(join(CGROUP_ROOT, 'cgroup.controllers'))) return [CGROUP_ROOT];
  return readdirSync(CGROUP_ROOT)
    .map((name) => join(CGROUP_ROOT, name))
    .filter((folder) => existsSync(join(folder, 'cgroup.procs')));
}

/** Makes the branch `name` in every hierarchy and returns the `cgroup.procs` files that move a process into it. */
export function createCgroupBranch(name: string): string[] {
  return hierarchies().map((hierarchy) => {
    const branch = join(hierarchy, name);
    mkdirSync(branch, { recursive: true });
    // A v1 cpuset without CPUs and memory nodes accepts no process: start with the parent's.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if (
        existsSync(join(hierarchy, file)) &&
        existsSync(join(branch, file)) &&
        !existsSync(join(branch, 'cgroup.controllers'))
      ) {
        writeFileSync(join(branch, file), readFileSync(join(hierarchy, file)));
      }
    }
    return join(branch, 'cgroup.procs');
  });
}

/** Removes the branch and everything below it, waiting up to `patienceMs` for processes that are still being reaped. */
export async function removeCgroupBranch(name: string, patienceMs = 5000): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (const hierarchy of hierarchies()) {
    for (;;) {
      try {
        removeTree(join(hierarchy, name));
        break;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await sleep(20);
      }
    }
  }
}

function removeTree(folder: string): void {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(folder, entry.name));
  }
  rmdirSync(folder);
}
