import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A pid file that cannot be fooled by a reused pid: the process must still have `mark` among its arguments.
 * Returns the pid of the living process, else undefined.
 */
export function livingPid(file: string, mark: string): number | undefined {
  let pid: number;
  try {
    pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  } catch {
    return undefined;
  }
  return pid > 0 && argumentsOf(pid).includes(mark) ? pid : undefined;
}

export function writePidFile(file: string, pid: number): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${pid}\n`);
}

/** Sends SIGTERM, waits, then SIGKILL. Resolves when the process is gone; idempotent. */
export async function stopProcess(file: string, mark: string, patienceMs: number): Promise<void> {
  const pid = livingPid(file, mark);
  if (pid !== undefined) {
    signalProcess(pid, 'SIGTERM');
    const deadline = performance.now() + patienceMs;
    // The process itself, not its file: a program that ends in order removes the file before it is gone.
    const lives = () => argumentsOf(pid).includes(mark);
    while (lives() && performance.now() < deadline) await sleep(20);
    if (lives()) signalProcess(pid, 'SIGKILL');
    while (lives()) await sleep(20);
  }
  rmSync(file, { force: true });
}

/** Sends a signal; a process that is gone is no error. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Pids of all processes that have `mark` among their arguments. */
export function processesWith(mark: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid && argumentsOf(pid).includes(mark));
}

/** Empty for a process that is gone or a zombie. */
export function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
