import { readFileSync, statSync } from 'node:fs';
import { ExecError } from '../linux/exec.ts';

/** A file that every user of the legacy iptables locks for the time of its work. */
const LOCK_FILE = '/run/xtables.lock';

/** Another program has held the xtables lock for as long as we were ready to wait. Nothing was changed. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
}

/**
 * The same error, or a LockedError that names the holder where a busy lock was the reason: whoever runs the node needs to know which
 * program keeps rules from being written (R10).
 */
export function explainLock(error: unknown): unknown {
  if (!(error instanceof ExecError) || !/xtables lock/.test(error.stderr)) return error;
  const holders = findLockHolders();
  const who =
    holders.length > 0
      ? holders.map(({ pid, command }) => `${command} (pid ${pid})`).join(', ')
      : 'a process that has ended meanwhile';
  return new LockedError(`the xtables lock ${LOCK_FILE} is held by ${who}; waiting for it to be let go`, {
    cause: error,
  });
}

interface LockHolder {
  pid: number;
  command: string;
}

/** Who holds a lock on a file now, as the kernel lists it. Processes of other pid namespaces cannot be named. */
export function findLockHolders(file = LOCK_FILE): LockHolder[] {
  try {
    const { ino } = statSync(file);
    return parseLocks(readFileSync('/proc/locks', 'utf8'), ino).map((pid) => ({ pid, command: commandOf(pid) }));
  } catch {
    return [];
  }
}

/** Pids that hold (not: wait for) a lock on an inode. `1: FLOCK  ADVISORY  WRITE 4242 00:18:1193 0 EOF` */
export function parseLocks(text: string, inode: number): number[] {
  const pids = text.split('\n').flatMap((line) => {
    const [, kind, , , pid, place] = line.trim().split(/\s+/);
    const isHeld = kind !== '->' && place?.split(':')[2] === String(inode) && Number(pid) > 0;
    return isHeld ? [Number(pid)] : [];
  });
  return [...new Set(pids)];
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'an unknown program';
  }
}
