import { closeSync, constants, fchmodSync, fstatSync, readlinkSync } from 'node:fs';
import { mkdirat, openat, openat2, SyscallError } from './libc.ts';

/**
 * Paths that somebody hostile can change while we look at them: every step is taken from an open descriptor, so what was
 * checked is what is used, and no step leads out of the directory that it began in.
 */

/** Refers to a file without opening it; not in Node's constants. The same on every architecture that Node runs on. */
const O_PATH = 0o10000000;
const { O_NOFOLLOW, O_DIRECTORY, O_RDONLY } = constants;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_BENEATH = 0x08;
/** The kernel gives up with EAGAIN at a `..` when something was renamed or mounted meanwhile, anywhere on the host. */
const RACE_RETRIES = 8;
const MAX_SYMLINKS = 40;

export type OpenBeneath = (directory: number, path: string) => number;

/**
 * Opens (O_PATH) what `path` names below the directory. Symbolic links are followed as long as they stay below it;
 * one that leads out, or is absolute, is EXDEV.
 * @throws SyscallError (ENOENT, ENOTDIR, EXDEV, ELOOP, …)
 */
export const openBeneath: OpenBeneath = (directory, path) => {
  for (let attempt = 0; ; attempt++) {
    try {
      return openat2(directory, path, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
    } catch (error) {
      const { code } = error as SyscallError;
      if (code === 'EAGAIN' && attempt < RACE_RETRIES) continue;
      // A busy host, an older kernel, or a container whose seccomp profile is older than the call.
      if (code === 'EAGAIN' || code === 'ENOSYS' || code === 'EPERM') return walkBeneath(directory, path);
      throw error;
    }
  }
};

/** The same by hand: one name at a time, links read and never followed, `..` by going back to what was open before. */
export const walkBeneath: OpenBeneath = (directory, path) => {
  const open: number[] = [];
  const todo = names(path);
  let links = 0;
  const here = () => open.at(-1) ?? directory;
  try {
    if (path.startsWith('/')) throw crossing(path);
    for (let name = todo.shift(); name !== undefined; name = todo.shift()) {
      if (name === '..') {
        const last = open.pop();
        if (last === undefined) throw crossing(path);
        closeSync(last);
        continue;
      }
      const fd = openat(here(), name, O_PATH | O_NOFOLLOW);
      if (!fstatSync(fd).isSymbolicLink()) {
        open.push(fd);
        continue;
      }
      closeSync(fd);
      if (++links > MAX_SYMLINKS) throw new SyscallError('openat', ELOOP, path);
      // Whatever the name is by now: its text is walked by these same rules.
      const target = readlinkSync(`/proc/self/fd/${here()}/${name}`);
      if (target.startsWith('/')) throw crossing(path);
      todo.unshift(...names(target));
    }
    return open.pop() ?? openat(directory, '.', O_PATH | O_DIRECTORY);
  } finally {
    for (const fd of open) closeSync(fd);
  }
};

const EXDEV = 18;
const ELOOP = 40;
const names = (path: string) => path.split('/').filter((name) => name !== '' && name !== '.');
const crossing = (path: string) => new SyscallError('openat', EXDEV, path);

/**
 * Opens `path` below the directory, and makes the directories that it lacks, with these permission bits whatever the
 * umask. The group is inherited where the parent is setgid. Here `path` itself may not contain `..`.
 */
export function ensureBeneath(directory: number, path: string, mode: number, open: OpenBeneath = openBeneath): number {
  const missing: string[] = [];
  const present = names(path);
  if (path.startsWith('/') || present.includes('..')) throw crossing(path);
  let at: number | undefined;
  // From the whole path upwards, so that what exists is reached in one step.
  while (at === undefined) {
    try {
      at = open(directory, present.join('/') || '.');
    } catch (error) {
      if ((error as SyscallError).code !== 'ENOENT' || present.length === 0) throw error;
      missing.unshift(present.pop()!);
    }
  }
  for (const name of missing) {
    const parent = at;
    try {
      at = makeDirectory(parent, name, mode);
    } finally {
      closeSync(parent);
    }
  }
  return at;
}

function makeDirectory(parent: number, name: string, mode: number): number {
  try {
    mkdirat(parent, name, mode);
  } catch (error) {
    // Another container of the pod may have been quicker; a link in its place fails at the open.
    if ((error as SyscallError).code !== 'EEXIST') throw error;
    return openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  }
  const fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    fchmodSync(fd, (fstatSync(fd).mode & 0o2000) | (mode & 0o777));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}
