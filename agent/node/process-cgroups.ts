import { readlink } from 'node:fs/promises';
import { attachProcesses, limitingDirectories, processesIn } from '../../src/linux/cgroup/attach.ts';
import type { Cgroups } from '../../src/linux/cgroup/cgroups.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

export interface ProcessCgroupOptions {
  /** `kubeletCgroups`: where this process belongs; empty: where it is. */
  own: string;
  /** `systemCgroups`: where everything belongs that runs in the root cgroup, but kernel threads and PID 1; empty: nothing is moved. */
  system: string;
  pid: number;
  /** The cgroup that counts as the root; tests have one of their own. */
  root?: string;
}

export interface ProcessCgroups {
  /** Makes the cgroups and moves who belongs there. @throws when it cannot be done */
  ensure(): Promise<void>;
  /** Looks again now and then: processes are born in the root cgroup. */
  run(signal: AbortSignal): Promise<void>;
}

const PERIOD_MS = 5 * 60_000;
/** Processes that fork while they are moved leave children behind. */
const ROUNDS = 10;

/** Keeps the node's own processes in the cgroups that the configuration names. */
export function createProcessCgroups(
  options: ProcessCgroupOptions,
  deps: {
    cgroups: Pick<Cgroups, 'ensure' | 'hierarchies'>;
    clock: Clock;
    log: Logger;
    isKernelThread?: (pid: number) => Promise<boolean>;
  },
): ProcessCgroups {
  const { own, system, pid, root = '/' } = options;
  const { cgroups, clock, log } = deps;
  const isKernelThread = deps.isKernelThread ?? hasNoProgram;
  const directories = limitingDirectories(cgroups.hierarchies);

  async function ensureOwn(): Promise<void> {
    await cgroups.ensure(own, {});
    for (const directory of directories)
      if (!(await processesIn(directory, own)).includes(pid)) await attachProcesses([directory], own, [pid]);
  }

  async function movable(directory: string): Promise<number[]> {
    const found = (await processesIn(directory, root)).filter((one) => one !== 1 && one !== pid);
    const kernel = await Promise.all(found.map(isKernelThread));
    return found.filter((_, index) => !kernel[index]);
  }

  async function ensureSystem(): Promise<void> {
    await cgroups.ensure(system, {});
    for (const directory of directories) {
      let left: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        left = await movable(directory);
        if (left.length === 0) break;
        await attachProcesses([directory], system, left);
      }
      if (left.length > 0) log.warn({ cgroup: system, pids: left }, 'processes of the root cgroup could not be moved');
    }
  }

  async function ensure(): Promise<void> {
    if (own) await ensureOwn();
    if (system) await ensureSystem();
  }

  return {
    ensure,
    async run(signal) {
      while (!signal.aborted) {
        await clock.sleep(PERIOD_MS, signal).catch(() => {});
        if (signal.aborted) return;
        await ensure().catch((error: unknown) => log.warn({ err: error }, 'processes are not in their cgroups'));
      }
    },
  };
}

/** A kernel thread runs no file. One that has ended meanwhile is nobody to move either. */
async function hasNoProgram(pid: number): Promise<boolean> {
  try {
    return (await readlink(`/proc/${pid}/exe`)) === '';
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return true;
    throw error;
  }
}
