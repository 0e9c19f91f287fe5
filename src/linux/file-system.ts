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

/** The file system that the path lies on. Throws what statfs(2) fails with; hangs as long as a server behind the path does. */
export async function statFileSystem(path: string): Promise<FileSystem> {
  const { bsize, blocks, bavail, bfree, files, ffree } = await statfs(path);
  return {
    capacityBytes: blocks * bsize,
    availableBytes: bavail * bsize,
    usedBytes: (blocks - bfree) * bsize,
    inodes: files,
    inodesFree: ffree,
    inodesUsed: files - ffree,
  };
}
