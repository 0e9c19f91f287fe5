import { closeSync, openSync } from 'node:fs';
import { flock, LOCK_EX, LOCK_NB } from '../../src/linux/libc.ts';
import { CNI_ERROR, CniError } from '../types.ts';

const RETRY_MS = 5;
const TIMEOUT_MS = 10_000;

/**
 * Does a piece of work while nobody else does one in that network namespace, in this process or another: the reference plugins lock the
 * namespace's file in the same way (flock). The lock ends with the descriptor, so with the process too.
 * @throws CniError 11 when another has it for 10 s
 */
export async function withNetnsLock<T>(
  netns: string,
  sleep: (ms: number) => Promise<void>,
  work: () => Promise<T>,
): Promise<T> {
  const descriptor = openSync(netns, 'r');
  try {
    for (let waitedMs = 0; !hasLock(descriptor, netns); waitedMs += RETRY_MS) {
      if (waitedMs >= TIMEOUT_MS)
        throw new CniError(CNI_ERROR.tryAgainLater, `${netns} has been locked by another process for 10 s`);
      await sleep(RETRY_MS);
    }
    return await work();
  } finally {
    closeSync(descriptor);
  }
}

function hasLock(descriptor: number, netns: string): boolean {
  try {
    flock(descriptor, LOCK_EX | LOCK_NB, netns);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN' || code === 'EWOULDBLOCK') return false;
    throw error;
  }
}
