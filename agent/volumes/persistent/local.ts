import { lstat, mkdir } from 'node:fs/promises';
import type { PersistentVolume } from '../../../src/kube/types.ts';
import { isMountPoint, mountFileSystem, unmount } from '../../../src/linux/mounts.ts';

export const LOCAL_PLUGIN = 'kubernetes.io/local-volume';

/** Binds the directory of a local PersistentVolume into the pod's. Idempotent. */
export async function ensureLocalVolume(volume: PersistentVolume, target: string): Promise<void> {
  const { path } = volume.spec.local!;
  if (path.split('/').includes('..'))
    throw new Error(`local volume ${volume.metadata.name}: invalid path: ${path} must not contain '..'`);
  const stats = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new Error(`path ${JSON.stringify(path)} does not exist`) : error;
  });
  if (stats.isBlockDevice())
    throw new Error(
      `local volume ${volume.metadata.name}: ${path} is a block device, which this node does not format; mount it and give the directory as spec.local.path`,
    );
  if (!stats.isDirectory()) throw new Error(`local volume ${volume.metadata.name}: ${path} is not a directory`);
  await mkdir(target, { recursive: true, mode: 0o750 });
  if (!isMountPoint(target)) mountFileSystem({ source: path, target, flags: ['bind'] });
}

/** Undoes the bind; the data stays where it is. */
export function removeLocalMount(target: string): void {
  while (isMountPoint(target)) unmount(target);
}
