import { closeSync, openSync, readSync } from 'node:fs';
import { findPlugin, lookUpPlugin } from './exec-plugin.ts';

/** By this line a launcher that `berth cni install` made is told from a plugin of somebody else's. */
export const LAUNCHER_MARK = "# Made by 'berth cni install'.";

/** The mark stands in the first lines: plugins of others may be programs of many megabytes. */
const HEAD_BYTES = 200;

export function isOwnLauncher(file: string): boolean {
  const descriptor = openSync(file, 'r');
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    return head.subarray(0, readSync(descriptor, head)).includes(LAUNCHER_MARK);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Where a plugin type's calls go: into this process when it is one of ours, unless the directories hold a program of that name that
 * is not ours; then what is installed there is what runs.
 * @returns undefined for in process, else the program's path.
 * @throws CniError 7 for a type that is neither ours nor in the directories.
 */
export function locatePlugin(type: string, path: readonly string[], isOwn: boolean): string | undefined {
  if (!isOwn) return findPlugin(type, path);
  const file = lookUpPlugin(type, path);
  return file === undefined || isOwnLauncher(file) ? undefined : file;
}
