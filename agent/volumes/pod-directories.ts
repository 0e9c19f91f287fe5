import { realpathSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { VolumeDirectory } from './plugin.ts';

/** As the kernel's list of mounts shows it. */
function withoutLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // Not there yet.
    return path;
  }
}

/** The pods' directories below the root dir, laid out as kubelet does (sheet §3). */
export function createPodDirectories(rootDir: string) {
  const podsDirectory = join(withoutLinks(rootDir), 'pods');
  const podDirectory = (uid: string) => {
    if (uid === '' || uid.includes('/') || uid === '.' || uid === '..')
      throw new Error(`${JSON.stringify(uid)} is no pod UID`);
    return join(podsDirectory, uid);
  };
  return {
    pod: podDirectory,
    hosts: (uid: string) => join(podDirectory(uid), 'etc-hosts'),
    resolvConf: (uid: string) => join(podDirectory(uid), 'etc-resolv.conf'),
    volume: (uid: string, plugin: string, name: string) =>
      join(podDirectory(uid), 'volumes', plugin.replaceAll('/', '~'), name),
    /** For what a volume needs beside itself. */
    plugin: (uid: string, plugin: string, name: string) =>
      join(podDirectory(uid), 'plugins', plugin.replaceAll('/', '~'), name),
    subPaths: (uid: string) => join(podDirectory(uid), 'volume-subpaths'),
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
  };
}

export type PodDirectories = ReturnType<typeof createPodDirectories>;
