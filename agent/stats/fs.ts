import { type FileSystem, statFileSystem } from '../../src/linux/file-system.ts';

/** The file system that the path lies on; undefined when there is no such path, or it gives no answer. Never for paths behind a network. */
export const readFileSystem = (path: string): Promise<FileSystem | undefined> =>
  statFileSystem(path).catch(() => undefined);
