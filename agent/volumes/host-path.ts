import { mkdir, open, stat } from 'node:fs/promises';
import type { PathResponse } from './path-response.ts';
import type { VolumePlugin } from './plugin.ts';

type Check = (stats: Awaited<ReturnType<typeof stat>>) => boolean;

const CHECKS: Record<string, { what: string; is: Check }> = {
  Directory: { what: 'a directory', is: (stats) => stats.isDirectory() },
  File: { what: 'a file', is: (stats) => stats.isFile() },
  Socket: { what: 'a socket file', is: (stats) => stats.isSocket() },
  CharDevice: { what: 'a character device', is: (stats) => stats.isCharacterDevice() },
  BlockDevice: { what: 'a block device', is: (stats) => stats.isBlockDevice() },
};

/**
 * Checks a hostPath and, for the OrCreate types, makes what is missing. Without a type a missing path becomes a
 * directory, as container runtimes do. Errors are upstream's.
 */
export async function ensureHostPath(path: string, type: string | undefined): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (!stats && (!type || type === 'DirectoryOrCreate')) {
    await mkdir(path, { recursive: true, mode: 0o755 });
    return;
  }
  if (!type) return;
  if (!stats && type === 'FileOrCreate') {
    await (await open(path, 'a', 0o644)).close();
    return;
  }
  const check = CHECKS[type.replace(/OrCreate$/, '')];
  if (!check) throw new Error(`${type} is an invalid volume type`);
  if (!stats || !check.is(stats)) throw new Error(`hostPath type check failed: ${path} is not ${check.what}`);
}

/** A path of the node itself, checked when the pod starts. Nothing of it is ours to remove. */
export const createHostPathPlugin = (responses: PathResponse): VolumePlugin => ({
  kind: 'hostPath',
  refreshes: false,
  directories: [],
  async setUp({ volume }) {
    const { path, type } = volume.hostPath!;
    if (path.split('/').includes('..')) throw new Error(`invalid HostPath \`${path}\`: must not contain '..'`);
    // Upstream's kubelet hangs here for ever when a server behind the path is gone.
    await responses.respond(path);
    await ensureHostPath(path, type);
    return { hostPath: path, readOnly: false, agentOwned: false };
  },
});
