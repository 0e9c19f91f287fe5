import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { flock, LOCK_EX, LOCK_NB } from '../../src/linux/libc.ts';
import { UserError } from '../output/failure.ts';
import { pathsOf, type Settings } from '../settings.ts';
import { nodePathsOf } from './records.ts';

/** A removal holds the lock for as long as its disk takes. */
const PATIENCE_MS = 120_000;
const POLL_MS = 50;

/**
 * Does `work` while no other command adds, starts, stops or removes nodes of this machine: two at once would give one name or address
 * twice. @throws UserError when another one takes too long.
 */
export async function whileNodesRest<T>(settings: Settings, work: () => T | Promise<T>): Promise<T> {
  const file = join(pathsOf(settings).nodes, '.lock');
  const deadline = performance.now() + PATIENCE_MS;
  let descriptor = tryLock(file);
  while (descriptor === undefined) {
    if (performance.now() > deadline)
      throw new UserError(`another command changes nodes of this machine since two minutes (it holds ${file})`);
    await sleep(POLL_MS);
    descriptor = tryLock(file);
  }
  try {
    return await work();
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Makes this process the only one that keeps the node, until it ends: two would run two Engines on one disk.
 * @returns false when there is one already.
 */
export function keepAlone(settings: Settings, name: string): boolean {
  return tryLock(join(nodePathsOf(settings, name).folder, 'lock')) !== undefined;
}

/** The descriptor that holds the lock (with it, or with the process, the lock ends); undefined while somebody else has it. */
function tryLock(file: string): number | undefined {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const descriptor = openSync(file, 'a', 0o600);
  try {
    flock(descriptor, LOCK_EX | LOCK_NB, file);
    return descriptor;
  } catch (error) {
    closeSync(descriptor);
    if (['EAGAIN', 'EWOULDBLOCK', 'EINTR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
