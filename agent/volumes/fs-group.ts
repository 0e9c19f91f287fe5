import { constants, type Stats } from 'node:fs';
import { chmod, chown, type FileHandle, lchown, open, readdir } from 'node:fs/promises';

/** Refers to a file without opening it (a FIFO or a device must not be opened); not in Node's constants. */
const O_PATH = 0o10000000;
const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;

const READ_WRITE = 0o660;
const READ_ONLY = 0o440;
/** Directories: entered by the group, and what is made in them belongs to it. */
const DIRECTORY = 0o2110;

export interface FsGroup {
  gid: number;
  /** OnRootMismatch leaves a volume alone whose root already looks as it should. */
  policy: 'Always' | 'OnRootMismatch';
  /** The volume is mounted read-only: its group needs no more than reading. */
  readOnly?: boolean;
}

/**
 * Gives a volume, and everything in it, to the pod's group (upstream's SetVolumeOwnership). The root comes last, so that
 * a change that was interrupted shows. Walks by open directories: containers of another pod may be at work in it.
 */
export async function applyFsGroup(path: string, group: FsGroup): Promise<void> {
  // The volume's own path is the agent's.
  const root = await open(path, O_PATH);
  try {
    const stats = await root.stat();
    if (group.policy === 'OnRootMismatch' && isRootDone(stats, group)) return;
    if (stats.isDirectory()) {
      const directory = await open(`/proc/self/fd/${root.fd}`, O_RDONLY | O_DIRECTORY);
      try {
        await changeBelow(directory, group);
      } finally {
        await directory.close();
      }
    }
    await change(root, stats, group);
  } finally {
    await root.close();
  }
}

function isRootDone(stats: Stats, { gid, readOnly }: FsGroup): boolean {
  const wanted = (readOnly ? READ_ONLY : READ_WRITE) | DIRECTORY;
  return stats.isDirectory() && stats.gid === gid && (stats.mode & wanted) === wanted;
}

async function changeBelow(directory: FileHandle, group: FsGroup): Promise<void> {
  const self = `/proc/self/fd/${directory.fd}/`;
  for (const name of await readdir(self, { encoding: 'buffer' })) {
    const at = Buffer.concat([Buffer.from(self), name]);
    let entry: FileHandle;
    try {
      entry = await open(at as unknown as string, O_PATH | O_NOFOLLOW);
    } catch (error) {
      // Gone meanwhile.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    try {
      const stats = await entry.stat();
      if (stats.isSymbolicLink()) {
        if (stats.gid !== group.gid) await lchown(at, stats.uid, group.gid).catch(ignoreMissing);
        continue;
      }
      if (stats.isDirectory()) {
        const child = await open(`/proc/self/fd/${entry.fd}`, O_RDONLY | O_DIRECTORY);
        try {
          await changeBelow(child, group);
        } finally {
          await child.close();
        }
      }
      await change(entry, stats, group);
    } finally {
      await entry.close();
    }
  }
}

/** Through the descriptor: what was looked at is what is changed. */
async function change(entry: FileHandle, stats: Stats, { gid, readOnly }: FsGroup): Promise<void> {
  const self = `/proc/self/fd/${entry.fd}`;
  if (stats.gid !== gid) await chown(self, stats.uid, gid);
  const added = (readOnly ? READ_ONLY : READ_WRITE) | (stats.isDirectory() ? DIRECTORY : 0);
  const mode = (stats.mode & 0o7777) | added;
  // chown takes the set-id bits of programs away; they come back with the mode.
  if (stats.gid !== gid || mode !== (stats.mode & 0o7777)) await chmod(self, mode);
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
