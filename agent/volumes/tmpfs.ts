import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { mountFileSystem } from '../../src/linux/mounts.ts';

/**
 * Mounts a tmpfs unless something is mounted there already (by an earlier life of the agent). What is in it never
 * reaches a disk where the kernel can promise that (`noswap`, since Linux 6.4).
 */
export function ensureTmpfs(mount: typeof mountFileSystem, path: string, options: string): void {
  if (isOwnFileSystem(path)) return;
  const request = { source: 'tmpfs', target: path, type: 'tmpfs' };
  try {
    mount({ ...request, data: `${options},noswap` });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    mount({ ...request, data: options });
  }
}

/**
 * Whether another file system than the folder's is there. Each pass over each pod asks: the kernel's list of mounts, with a hundred pods'
 * in it, took a fifth of an idle agent's time.
 */
function isOwnFileSystem(path: string): boolean {
  return statSync(path).dev !== statSync(dirname(path)).dev;
}
