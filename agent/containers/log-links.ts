import { mkdir, readdir, readlink, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Pod } from '../../src/kube/types.ts';

export interface LogDirectories {
  /** `podLogsDir`, /var/log/pods. */
  pods: string;
  /** /var/log/containers: the flat directory that log shippers read. */
  containers: string;
  /** The Engine's data root, where its json-file logs are. */
  dockerRoot: string;
}

/** Log paths as people and log shippers know them, as symlinks to the Engine's files (sheet §6). */
export function createLogLinks(directories: LogDirectories) {
  const podDirectory = (pod: Pod) =>
    join(directories.pods, `${pod.metadata.namespace}_${pod.metadata.name}_${pod.metadata.uid}`);
  const pathOf = (pod: Pod, container: string, attempt: number) => join(podDirectory(pod), container, `${attempt}.log`);

  return {
    /** `<podLogsDir>/<ns>_<pod>_<uid>/<container>/<attempt>.log` */
    pathOf,

    /** Makes both links of a started container. */
    async ensure(pod: Pod, container: string, attempt: number, id: string): Promise<void> {
      const path = pathOf(pod, container, attempt);
      const engineLog = join(directories.dockerRoot, 'containers', id, `${id}-json.log`);
      await mkdir(dirname(path), { recursive: true, mode: 0o755 });
      await replaceLink(engineLog, path);
      await mkdir(directories.containers, { recursive: true, mode: 0o755 });
      const { namespace, name } = pod.metadata;
      await replaceLink(path, join(directories.containers, `${name}_${namespace}_${container}-${id}.log`));
    },

    async removePod(pod: Pod): Promise<void> {
      await rm(podDirectory(pod), { recursive: true, force: true });
      await this.removeDangling();
    },

    /** Removes log directories of pods that are not known, and flat links that lead nowhere. */
    async collect(uids: ReadonlySet<string>): Promise<void> {
      for (const name of await list(directories.pods)) {
        const parts = name.split('_');
        if (parts.length === 3 && !uids.has(parts[2]!))
          await rm(join(directories.pods, name), { recursive: true, force: true });
      }
      await this.removeDangling();
    },

    async removeDangling(): Promise<void> {
      for (const name of await list(directories.containers)) {
        const path = join(directories.containers, name);
        const target = await readlink(path).catch(() => undefined);
        // Only links into our own tree: others may keep theirs here too.
        if (target?.startsWith(`${directories.pods}/`) && !(await exists(path))) await rm(path, { force: true });
      }
    },
  };
}

export type LogLinks = ReturnType<typeof createLogLinks>;

async function list(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function replaceLink(target: string, path: string): Promise<void> {
  await rm(path, { force: true });
  await symlink(target, path);
}
