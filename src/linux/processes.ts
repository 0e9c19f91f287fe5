import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface ProcessInfo {
  pid: number;
  /** The kernel's name of it, at most 15 bytes. */
  command: string;
  /** `R` runs, `S` sleeps, `D` waits in the kernel and takes no signal, …. */
  state: string;
  /** The kernel function in which it waits; empty where the kernel does not tell. */
  waitsIn: string;
}

const GONE = ['Z', 'X'];

/**
 * The living processes whose cgroup path has `name` as a part of a directory's name: `…/<container id>`, `…/docker-<container id>.scope`.
 * The kernel's own word, whatever a runtime says. What has exited and was only not reaped (a zombie) does not live.
 */
export async function findProcessesOfCgroup(name: string, procRoot = '/proc'): Promise<ProcessInfo[]> {
  const pids = (await readdir(procRoot)).filter((entry) => /^\d+$/.test(entry));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const directory = join(procRoot, pid);
      if (!(await readText(join(directory, 'cgroup'))).includes(name)) return undefined;
      const { command, state } = parseStat(await readText(join(directory, 'stat')));
      if (!(await lives(directory, state))) return undefined;
      return {
        pid: Number(pid),
        command,
        state,
        waitsIn: (await readText(join(directory, 'wchan'))).replace(/^0$/, ''),
      };
    }),
  );
  return found.filter((one) => one !== undefined);
}

/** A leader that has exited is a zombie as long as other threads of it run. */
async function lives(directory: string, state: string): Promise<boolean> {
  if (state === '') return false;
  if (!GONE.includes(state)) return true;
  const threads = await readdir(join(directory, 'task')).catch(() => []);
  const states = await Promise.all(
    threads.map(async (tid) => parseStat(await readText(join(directory, 'task', tid, 'stat'))).state),
  );
  return states.some((one) => one !== '' && !GONE.includes(one));
}

/** `pid (comm) S …`: the name may hold spaces and parentheses itself. Empty for a process that has gone meanwhile. */
function parseStat(text: string): { command: string; state: string } {
  const [open, close] = [text.indexOf('('), text.lastIndexOf(')')];
  return { command: text.slice(open + 1, close), state: close === -1 ? '' : (text[close + 2] ?? '') };
}

async function readText(path: string): Promise<string> {
  return (await readFile(path, 'utf8').catch(() => '')).trim();
}
