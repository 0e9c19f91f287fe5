import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';

export interface DiskUsage {
  /** What is taken on the disk (blocks), not how long the files are: sparse files count for what they hold. */
  bytes: number;
  inodes: number;
}

export interface DiskUsageOptions {
  /** Where something is mounted, bind mounts too: not entered, not counted. Another device is not entered anyway. */
  mountPoints?: ReadonlySet<string>;
  signal?: AbortSignal;
}

/** Entries that are looked at at once: the walk must leave the thread pool to others. */
const BATCH = 16;

/**
 * Bytes and inodes of a directory and all below it, or of one file. Hard links within it count once; links are not followed; what
 * disappears meanwhile is not counted. Waits for the disk on the thread pool, never in the event loop.
 * @returns undefined when there is nothing at the path.
 * @throws the error of lstat(2) or opendir(2) but ENOENT and ENOTDIR, or the signal's reason.
 */
export async function measureDiskUsage(path: string, options: DiskUsageOptions = {}): Promise<DiskUsage | undefined> {
  const root = await look(path);
  if (!root) return undefined;
  const usage = { bytes: root.blocks * 512, inodes: 1 };
  if (!root.isDirectory()) return usage;
  /** Files with several names that were seen already. */
  const linked = new Set<number>();
  const directories = [path];
  let failure: unknown;

  async function count(entry: string) {
    const found = await look(entry).catch((error) => {
      failure ??= error;
    });
    // Where a device is mounted the entry is the root of another file system.
    if (!found || found.dev !== root!.dev || options.mountPoints?.has(entry)) return;
    if (found.nlink > 1 && !found.isDirectory()) {
      if (linked.has(found.ino)) return;
      linked.add(found.ino);
    }
    usage.bytes += found.blocks * 512;
    usage.inodes += 1;
    if (found.isDirectory()) directories.push(entry);
  }

  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    let batch: Promise<void>[] = [];
    const finish = async () => {
      await Promise.all(batch);
      batch = [];
      if (failure) throw failure;
      options.signal?.throwIfAborted();
    };
    for await (const name of names(directory)) {
      batch.push(count(join(directory, name)));
      if (batch.length >= BATCH) await finish();
    }
    await finish();
  }
  return usage;
}

async function* names(directory: string): AsyncGenerator<string> {
  try {
    for await (const { name } of await opendir(directory)) yield name;
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

async function look(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
