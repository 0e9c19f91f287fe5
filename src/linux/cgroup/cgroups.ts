import { access, mkdir, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../runtime/clock.ts';
import { type CgroupHierarchies, findHierarchies } from './hierarchies.ts';
import { type CgroupLimits, renderLimits } from './values.ts';

/** Controllers in which we make directories ourselves; a runtime adds its own in the others. */
const MANAGED_CONTROLLERS = ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids', 'hugetlb'];
const REMOVAL_TIMEOUT_MS = 10_000;

/** Cgroups by path (`/kubepods/burstable/pod…`), the same on v1 (a directory in each hierarchy) and v2. */
export interface Cgroups {
  readonly version: 1 | 2;
  readonly hierarchies: CgroupHierarchies;
  /** Makes the cgroup with its ancestors and writes the limits. Idempotent; limits not named stay as they are. */
  ensure(path: string, limits: CgroupLimits): Promise<void>;
  /** Writes the limits of a cgroup that somebody else made. False when it is not there (any more). */
  update(path: string, limits: CgroupLimits): Promise<boolean>;
  /** Whether it exists in every managed hierarchy. */
  exists(path: string): Promise<boolean>;
  /** Names of the child cgroups, of any hierarchy. Empty when the cgroup does not exist. */
  children(path: string): Promise<string[]>;
  /** Processes in it and below it, in any hierarchy. */
  processes(path: string): Promise<number[]>;
  /** Kills what runs in it and below it, then removes all of it in every hierarchy. Idempotent. */
  remove(path: string): Promise<void>;
  /** Text of one file of a controller, trimmed; undefined when the cgroup or file is not there. */
  read(path: string, controller: string, file: string): Promise<string | undefined>;
}

/** Opens the cgroup file systems below `mountRoot`. Throws when there are none. */
export async function openCgroups(
  options: { mountRoot?: string } = {},
  deps: { clock?: Clock; kill?: (pid: number) => void } = {},
): Promise<Cgroups> {
  const hierarchies = await findHierarchies(options.mountRoot ?? '/sys/fs/cgroup');
  const clock = deps.clock ?? systemClock;
  const kill = deps.kill ?? killProcess;
  const { version, controllers, directories } = hierarchies;
  const managed = [...new Set(MANAGED_CONTROLLERS.flatMap((name) => controllers.get(name) ?? []))];

  /** Parents first; v1's cpuset is born empty and takes no process until it has CPUs and memory nodes. */
  async function makeV1(directory: string, path: string) {
    const isCpuset = directory === controllers.get('cpuset');
    let current = directory;
    for (const part of segments(path)) {
      const parent = current;
      current = join(current, part);
      await makeDirectory(current);
      if (!isCpuset) continue;
      for (const file of ['cpuset.cpus', 'cpuset.mems']) await inherit(parent, current, file);
    }
  }

  /** Parents first; a child has a controller only when its parent delegates it. */
  async function makeV2(path: string) {
    const wanted = MANAGED_CONTROLLERS.filter((name) => controllers.has(name));
    let current = hierarchies.mountRoot;
    for (const part of segments(path)) {
      await delegate(current, wanted);
      current = join(current, part);
      await makeDirectory(current);
    }
  }

  async function writeLimits(path: string, limits: CgroupLimits) {
    for (const { controller, file, value, isOptional } of renderLimits(version, limits)) {
      const directory = controllers.get(controller);
      // A kernel without hugetlb or pids still runs pods; cpu and memory were checked when opening.
      if (!directory) continue;
      const target = join(directory, path, file);
      if (isOptional && !(await isThere(target)) && (await isThere(join(directory, path)))) continue;
      await writeSetting(target, value);
    }
  }

  const cgroups: Cgroups = {
    version,
    hierarchies,
    async ensure(path, limits) {
      if (version === 1) await Promise.all(managed.map((directory) => makeV1(directory, path)));
      else await makeV2(path);
      await writeLimits(path, limits);
    },
    async update(path, limits) {
      try {
        await writeLimits(path, limits);
        return true;
      } catch (error) {
        // ENODEV: removed between open and write.
        const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
        if ((code === 'ENOENT' || code === 'ENODEV') && !(await cgroups.exists(path))) return false;
        throw error;
      }
    },
    async exists(path) {
      const found = await Promise.all(managed.map((directory) => isDirectory(join(directory, path))));
      return found.every(Boolean);
    },
    async children(path) {
      const lists = await Promise.all(directories.map((directory) => childNames(join(directory, path))));
      return [...new Set(lists.flat())].sort();
    },
    async processes(path) {
      const lists = await Promise.all(directories.map((directory) => processesBelow(join(directory, path))));
      return [...new Set(lists.flat())].sort((a, b) => a - b);
    },
    async remove(path) {
      if (segments(path).length === 0) throw new Error('the root cgroup cannot be removed');
      const deadlineMs = clock.monotonicMs() + REMOVAL_TIMEOUT_MS;
      for (let delayMs = 5; ; delayMs = Math.min(delayMs * 2, 200)) {
        for (const pid of await cgroups.processes(path)) {
          if (pid === process.pid) throw new Error(`cgroup ${path} is not removed: this very process is in it`);
          kill(pid);
        }
        const left = await Promise.all(directories.map((directory) => removeTree(join(directory, path))));
        const busy = left.find((error) => error !== undefined);
        if (!busy) return;
        // A killed process leaves its cgroup only when its parent or the kernel is done with it.
        if (clock.monotonicMs() > deadlineMs)
          throw new Error(`cgroup ${path} is still in use after ${REMOVAL_TIMEOUT_MS / 1000} s: ${busy.message}`);
        await clock.sleep(delayMs);
      }
    },
    async read(path, controller, file) {
      const directory = controllers.get(controller);
      if (!directory) return undefined;
      return (await readIfThere(join(directory, path, file)))?.trim();
    },
  };
  return cgroups;
}

function segments(path: string): string[] {
  const parts = path.split('/').filter(Boolean);
  if (parts.some((part) => part === '.' || part === '..')) throw new Error(`cgroup path ${path} must not hold . or ..`);
  return parts;
}

async function makeDirectory(path: string) {
  await mkdir(path, { mode: 0o755 }).catch((error) => {
    if (error.code !== 'EEXIST') throw new Error(`cannot make cgroup ${path}: ${error.message}`, { cause: error });
  });
}

async function writeSetting(path: string, value: string) {
  await writeFile(path, value).catch((error) => {
    const hint =
      error.code === 'EBUSY' ? ' (more is in use than the new limit)' : error.code === 'EINVAL' ? ' (refused)' : '';
    throw new Error(`cannot write ${value} to ${path}: ${error.code ?? error.message}${hint}`, { cause: error });
  });
}

async function inherit(parent: string, child: string, file: string) {
  const own = await readIfThere(join(child, file));
  if (own === undefined || own.trim() !== '') return;
  const value = (await readIfThere(join(parent, file)))?.trim();
  if (value) await writeSetting(join(child, file), value);
}

async function delegate(directory: string, controllers: string[]) {
  const file = join(directory, 'cgroup.subtree_control');
  const enabled = new Set((await readIfThere(file))?.trim().split(/\s+/));
  const available = new Set((await readIfThere(join(directory, 'cgroup.controllers')))?.trim().split(/\s+/));
  const missing = controllers.filter((name) => available.has(name) && !enabled.has(name));
  if (missing.length === 0) return;
  await writeFile(file, missing.map((name) => `+${name}`).join(' ')).catch((error) => {
    const hint = error.code === 'EBUSY' ? '; processes live in this cgroup: move them to a child of it first' : '';
    throw new Error(`cannot delegate ${missing.join(', ')} below ${directory}: ${error.code ?? error.message}${hint}`, {
      cause: error,
    });
  });
}

async function childNames(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

async function processesBelow(directory: string): Promise<number[]> {
  const own = ((await readIfThere(join(directory, 'cgroup.procs'))) ?? '').split('\n').map(Number);
  const below = await Promise.all((await childNames(directory)).map((name) => processesBelow(join(directory, name))));
  // 0 stands for a process of another pid namespace; as an argument of kill it would mean ourselves.
  return [...own.filter((pid) => pid > 0), ...below.flat()];
}

/** Depth first. Returns the reason when something still lives in it. */
async function removeTree(directory: string): Promise<Error | undefined> {
  let busy: Error | undefined;
  for (const name of await childNames(directory)) busy = (await removeTree(join(directory, name))) ?? busy;
  if (busy) return busy;
  return rmdir(directory).then(
    () => undefined,
    (error) => {
      if (error.code === 'ENOENT') return undefined;
      if (error.code === 'EBUSY' || error.code === 'ENOTEMPTY') return error as Error;
      throw error;
    },
  );
}

async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error) => {
    // ENODEV: the cgroup was removed between open and read.
    if (error.code === 'ENOENT' || error.code === 'ENODEV') return undefined;
    throw error;
  });
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
}

function killProcess(pid: number) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
