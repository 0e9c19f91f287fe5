import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * A directory and those above it. Node's own way with `recursive` never ends where a file system answers ENOENT for good, as /proc does.
 * @throws what mkdir(2) says: ENOENT there, ENOTDIR below a file, EACCES, EROFS.
 */
export function makeDirectory(path: string, mode: number): void {
  try {
    makeOne(path, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error;
    makeDirectory(dirname(path), mode);
    makeOne(path, mode);
  }
}

function makeOne(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
