import { readFile, readFileSync, rename, renameSync, unlink, unlinkSync, writeFile, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

/** How files of some bytes are read and written. All throw Node's errors. */
export interface SmallFiles {
  readFile(path: string, encoding: 'utf8'): Promise<string>;
  writeFile(path: string, content: string, options: { mode: number }): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
}

/**
 * For a process that also answers others: a busy disk delays a thread of the pool. The forms with callbacks cost a fraction of those of
 * fs/promises, which open a handle each.
 */
export const inPool: SmallFiles = {
  readFile: promisify(readFile),
  writeFile: promisify(writeFile),
  rename: promisify(rename),
  unlink: promisify(unlink),
};

/** For a process of one call, which nobody else waits for: a tenth of the time, and no threads to start. */
export const atOnce: SmallFiles = {
  readFile: async (path, encoding) => readFileSync(path, encoding),
  writeFile: async (path, content, options) => writeFileSync(path, content, options),
  rename: async (from, to) => renameSync(from, to),
  unlink: async (path) => unlinkSync(path),
};
