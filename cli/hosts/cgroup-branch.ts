import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const CGROUP_ROOT = '/sys/fs/cgroup';

/** Below a branch of cgroup v2: where its processes are, for a cgroup that hands controllers on may hold none itself. */
const PROCESSES = 'init';

const isUnified = () => existsSync(join(CGROUP_ROOT, 'cgroup.controllers'));

/** The hierarchies a process can be moved in: one folder on cgroup v2, one per controller on v1. */
function hierarchies(): string[] {
  if (isUnified()) return [CGROUP_ROOT];
  return readdirSync(CGROUP_ROOT)
    .map((name) => join(CGROUP_ROOT, name))
    .filter((folder) => existsSync(join(folder, 'cgroup.procs')));
}

export interface CgroupBranch {
  /** The `cgroup.procs` files that move a process into the branch. */
  procsFiles: string[];
  /** On cgroup v2 that of the branch's root: only for the moment in which a process makes it the root of a namespace. */
  rootProcsFile?: string;
}

/** Makes the branch `name` in every hierarchy. */
export function createCgroupBranch(name: string): CgroupBranch {
  if (isUnified()) {
    const branch = join(CGROUP_ROOT, name);
    removeRemains(branch);
    mkdirSync(join(branch, PROCESSES), { recursive: true });
    delegateControllers();
    return { procsFiles: [join(branch, PROCESSES, 'cgroup.procs')], rootProcsFile: join(branch, 'cgroup.procs') };
  }
  return { procsFiles: createBranchesV1(name) };
}

/** Of a host that was killed: a branch that hands controllers on lets nobody in. */
function removeRemains(branch: string): void {
  try {
    removeTree(branch);
  } catch {
    // Somebody is in it: what comes next says so.
  }
}

/** A branch has the controllers that the root hands on; each by itself, for one that can't be is no reason to go without the others. */
function delegateControllers(): void {
  for (const controller of readFileSync(join(CGROUP_ROOT, 'cgroup.controllers'), 'utf8').trim().split(' '))
    try {
      writeFileSync(join(CGROUP_ROOT, 'cgroup.subtree_control'), `+${controller}`);
    } catch {
      // Whoever needs it in the branch says so.
    }
}

function createBranchesV1(name: string): string[] {
  return hierarchies().map((hierarchy) => {
    const branch = join(hierarchy, name);
    mkdirSync(branch, { recursive: true });
    // A v1 cpuset without CPUs and memory nodes accepts no process: start with the parent's.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if (existsSync(join(hierarchy, file)) && existsSync(join(branch, file)))
        writeFileSync(join(branch, file), readFileSync(join(hierarchy, file)));
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
