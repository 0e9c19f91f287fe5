import { mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { VolumePlugin } from './plugin.ts';

type Check = (stats: Awaited<ReturnType<typeof stat>>) => boolean;

const CHECKS: Record<string, { what: string; is: Check }> = {
  Directory: { what: 'a directory', is: (stats) => stats.isDirectory() },
  File: { what: 'a file', is: (stats) => stats.isFile() },
  Socket: { what: 'a socket file', is: (stats) => stats.isSocket() },
  CharDevice: { what: 'a character device', is: (stats) => stats.isCharacterDevice() },
  BlockDevice: { what: 'a block device', is: (stats) => stats.isBlockDevice() },
};

/** Checks and, for the OrCreate types, makes a hostPath (sheet §8). Without a type a missing path becomes a directory, as container runtimes do. */
export async function ensureHostPath(path: string, type: string | undefined): Promise<void> {
  if (!type || type === 'DirectoryOrCreate') {
    const stats = await stat(path).catch(() => undefined);
    if (!stats) await mkdir(path, { recursive: true, mode: 0o755 });
    else if (type && !stats.isDirectory()) throw new Error(`hostPath type check failed: ${path} is not a directory`);
    return;
  }
  if (type === 'FileOrCreate') {
    await stat(dirname(path));
    await (await open(path, 'a', 0o644)).close();
    if (!(await stat(path)).isFile()) throw new Error(`hostPath type check failed: ${path} is not a file`);
    return;
  }
  const check = CHECKS[type];
  if (!check) throw new Error(`unknown hostPath type ${type}`);
  const stats = await stat(path).catch(() => undefined);
  if (!stats || !check.is(stats)) throw new Error(`hostPath type check failed: ${path} is not ${check.what}`);
}

/** A path of the node itself, checked when the pod starts. Nothing of it is ours to remove. */
export const hostPathPlugin: VolumePlugin = {
  kind: 'hostPath',
  refreshes: false,
  directories: [],
  async setUp({ volume }) {
    const { path, type } = volume.hostPath!;
    await ensureHostPath(path, type);
    return { hostPath: path, readOnly: false, agentOwned: false };
  },
};
