import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isMountPoint, unmount } from '../../../src/linux/mounts.ts';
import type { VolumeDirectory } from '../plugin.ts';

/**
 * For a node that is given up, drivers and all: volumes are unmounted without asking whoever mounted them, so that
 * nothing is deleted through them. The data stays; what a driver holds beside the mount is its own affair.
 */
export function unmountWithoutDriver({ plugin, path }: Pick<VolumeDirectory, 'plugin' | 'path'>): void {
  const target = plugin === 'kubernetes.io/csi' ? join(path, 'mount') : path;
  while (isMountPoint(target)) unmount(target);
}

/** The same for volumes that are staged on the node, after those of the pods. `rootDir` is the agent's. */
export async function unmountStaged(rootDir: string): Promise<void> {
  const root = join(rootDir, 'plugins', 'kubernetes.io', 'csi');
  for (const driver of await names(root))
    for (const volume of await names(join(root, driver))) {
      const target = join(root, driver, volume, 'globalmount');
      while (isMountPoint(target)) unmount(target);
    }
}

const names = (directory: string): Promise<string[]> => readdir(directory).catch(() => []);
