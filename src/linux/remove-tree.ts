import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rmdir, unlink } from 'node:fs/promises';
import { mountIdOf } from './mounts.ts';

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;

/**
 * Deletes a directory and what is in it, from open directories downwards: a link is deleted and never followed, whoever
 * puts it there meanwhile, and no other mount is entered. What is mounted is an error, after which the rest below it
 * stands; a missing directory is what the caller wants.
 */
export async function removeTree(path: string): Promise<void> {
  const root = await openDirectory(path);
  if (!root) return;
  try {
    await empty(root, mountIdOf(root.fd), path);
  } finally {
    await root.close();
  }
  await rmdir(path);
}

async function openDirectory(path: string | Buffer): Promise<FileHandle | undefined> {
  try {
    return await open(path as string, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function empty(directory: FileHandle, mountId: number, shown: string): Promise<void> {
  const self = `/proc/self/fd/${directory.fd}`;
  // As bytes: containers need not name their files in UTF-8.
  for (const entry of await readdir(self, { withFileTypes: true, encoding: 'buffer' })) {
    const name = `${shown}/${entry.name.toString()}`;
    const at = Buffer.concat([Buffer.from(`${self}/`), entry.name]);
    if (!entry.isDirectory()) {
      await unlink(at).catch((error) => ignoreMissing(error, name));
      continue;
    }
    const child = await openDirectory(at);
    if (!child) continue;
    try {
      if (mountIdOf(child.fd) !== mountId) throw new Error(`${name} is a mount point: nothing in it was deleted`);
      await empty(child, mountId, name);
    } finally {
      await child.close();
    }
    await rmdir(at).catch((error) => ignoreMissing(error, name));
  }
}

/** The kernel's message would name our descriptor. */
function ignoreMissing(error: NodeJS.ErrnoException, name: string): void {
  if (error.code !== 'ENOENT') throw new Error(`${name} cannot be deleted: ${error.code}`, { cause: error });
}
