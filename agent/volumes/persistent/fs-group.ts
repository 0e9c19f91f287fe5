import { constants } from 'node:fs';
import { chmod, chown, type FileHandle, open, readdir } from 'node:fs/promises';

/** Refers to a file without opening it: no device, FIFO or link is touched by looking. Not in Node's constants. */
const O_PATH = 0o10000000;
const FILE_BITS = 0o660;
const DIRECTORY_BITS = 0o2770;

/**
 * Gives a volume's files to the pod's fsGroup: group ownership, `g+rw`, and for directories `g+x` and setgid, so that
 * new files belong to it too (upstream's SetVolumeOwnership). Works on descriptors from the root downwards: another pod
 * may have the volume already, and a link that it puts in the way must not lead out of it.
 * With `OnRootMismatch` nothing is done when the root is right: what is below was made right together with it.
 */
export async function applyFsGroup(root: string, gid: number, policy: string | undefined): Promise<void> {
  const handle = await open(root, O_PATH | constants.O_NOFOLLOW);
  try {
    const { mode, gid: owner } = await handle.stat();
    if (policy === 'OnRootMismatch' && owner === gid && (mode & DIRECTORY_BITS) === DIRECTORY_BITS) return;
    await applyTo(handle, gid);
  } finally {
    await handle.close();
  }
}

/** What is below first: the root's being right says that all of it is. */
async function applyTo(handle: FileHandle, gid: number): Promise<void> {
  const self = `/proc/self/fd/${handle.fd}`;
  const stats = await handle.stat();
  if (stats.isDirectory()) {
    const directory = await open(self, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const inside = `/proc/self/fd/${directory.fd}`;
      for (const name of await readdir(inside)) {
        const entry = await openEntry(`${inside}/${name}`);
        try {
          if (entry) await applyTo(entry, gid);
        } finally {
          await entry?.close();
        }
      }
    } finally {
      await directory.close();
    }
  }
  await chown(self, stats.uid, gid);
  // Links have no mode; chown above has also cleared set-id bits of files, which chmod must not bring back.
  if (stats.isSymbolicLink()) return;
  await chmod(self, stats.isDirectory() ? (stats.mode & 0o7777) | DIRECTORY_BITS : (stats.mode & 0o777) | FILE_BITS);
}

/** undefined when it was removed meanwhile. */
async function openEntry(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, O_PATH | constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
