import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readMounts, unmount } from '../../src/linux/mounts.ts';
import type { VolumeDirectory } from './plugin.ts';

/** The pods' directories below the root dir, laid out as kubelet does (sheet §3). */
export function createPodDirectories(rootDir: string) {
  const podsDirectory = join(rootDir, 'pods');
  const podDirectory = (uid: string) => join(podsDirectory, uid);
  return {
    pod: podDirectory,
    hosts: (uid: string) => join(podDirectory(uid), 'etc-hosts'),
    resolvConf: (uid: string) => join(podDirectory(uid), 'etc-resolv.conf'),
    volume: (uid: string, plugin: string, name: string) =>
      join(podDirectory(uid), 'volumes', plugin.replaceAll('/', '~'), name),
    /** Where the mount of one container, `index` in its volumeMounts, is made. */
    subPath: (uid: string, volume: string, container: string, index: number) =>
      join(podDirectory(uid), 'volume-subpaths', volume, container, String(index)),
    container: (uid: string, container: string) => join(podDirectory(uid), 'containers', container),

    /** Makes the pod's directories. */
    async ensure(uid: string): Promise<void> {
      for (const part of ['volumes', 'plugins', 'containers'])
        await mkdir(join(podDirectory(uid), part), { recursive: true, mode: 0o750 });
    },

    /** UIDs that have a directory. */
    async list(): Promise<string[]> {
      return readdir(podsDirectory).catch(() => []);
    },

    /** What the pod's volumes have on disk. */
    async volumes(uid: string): Promise<VolumeDirectory[]> {
      const root = join(podDirectory(uid), 'volumes');
      const found: VolumeDirectory[] = [];
      for (const escaped of await readdir(root).catch(() => []))
        for (const name of await readdir(join(root, escaped)).catch(() => []))
          found.push({ podUid: uid, plugin: escaped.replaceAll('~', '/'), name, path: join(root, escaped, name) });
      return found;
    },

    /** Unmounts what is mounted below and deletes the directory. Nothing is deleted while a mount is left. */
    async remove(uid: string): Promise<void> {
      if (uid === '' || uid.includes('/') || uid === '.' || uid === '..')
        throw new Error(`${JSON.stringify(uid)} is no pod UID`);
      const directory = podDirectory(uid);
      const below = () => readMounts().filter(({ target }) => target.startsWith(`${directory}/`));
      // Later mounts cover earlier ones: undo them in reverse.
      for (const { target } of below().reverse()) unmount(target);
      const left = below();
      if (left.length > 0)
        throw new Error(`${directory}: still mounted: ${left.map(({ target }) => target).join(', ')}`);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export type PodDirectories = ReturnType<typeof createPodDirectories>;
