import { statfs } from 'node:fs/promises';

/** A file system as statfs(2) tells it. */
export interface FileSystem {
  capacityBytes: number;
  /** For those who are not root. */
  availableBytes: number;
  usedBytes: number;
  inodes: number;
  inodesFree: number;
  inodesUsed: number;
}

/** The file system that the path lies on; undefined when there is no such path, or it gives no answer. Never for paths behind a network. */
export async function readFileSystem(path: string): Promise<FileSystem | undefined> {
  try {
    const { bsize, blocks, bavail, bfree, files, ffree } = await statfs(path);
    return {
      capacityBytes: blocks * bsize,
      availableBytes: bavail * bsize,
      usedBytes: (blocks - bfree) * bsize,
      inodes: files,
      inodesFree: ffree,
      inodesUsed: files - ffree,
    };
  } catch {
    return undefined;
  }
}
