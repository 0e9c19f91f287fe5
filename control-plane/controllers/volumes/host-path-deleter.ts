import { lstat, realpath, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { removeTree } from '../../../src/linux/remove-tree.ts';

/**
 * Deletes the data of a released hostPath volume on this host. Like upstream's, made for trying things on one machine:
 * it touches nothing outside of /tmp, and here not by way of a symbolic link either.
 * @throws when the path is elsewhere
 */
export async function deleteHostPath(path: string): Promise<void> {
  if (!/^\/tmp\/./.test(path) || path.split('/').includes('..'))
    throw new Error(`host_path deleter only supports /tmp/.+ but received provided ${path}`);
  let parent: string;
  try {
    parent = await realpath(dirname(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (parent !== '/tmp' && !parent.startsWith('/tmp/'))
    throw new Error(`host_path deleter only supports /tmp/.+ but ${path} leads to ${parent}`);
  const target = join(parent, basename(path));
  const stats = await lstat(target).catch(() => undefined);
  // What is mounted below stays, and is the error; a link at the end is removed itself, not what it points to.
  if (stats?.isDirectory()) await removeTree(target);
  else await rm(target, { force: true });
}
