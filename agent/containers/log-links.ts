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

    /** Removes log directories of pods that are not known, and links to logs of containers that are gone. */
    async collect(uids: ReadonlySet<string>): Promise<void> {
      for (const name of await list(directories.pods)) {
        const parts = name.split('_');
        if (parts.length !== 3) continue;
        const path = join(directories.pods, name);
        if (uids.has(parts[2]!)) await removeAttempts(path);
        else await rm(path, { recursive: true, force: true });
      }
      await this.removeDangling();
    },

    async removeDangling(): Promise<void> {
      for (const name of await list(directories.containers)) {
        const path = join(directories.containers, name);
        const target = await readlink(path).catch(() => undefined);
        // Only links into our own tree: others may keep theirs here too.
        if (target?.startsWith(`${directories.pods}/`) && !(await hasContainer(target)))
          await rm(path, { force: true });
      }
    },
  };
}

/** Links of earlier runs whose containers were removed. */
async function removeAttempts(podDirectory: string): Promise<void> {
  for (const container of await list(podDirectory))
    for (const name of await list(join(podDirectory, container))) {
      const path = join(podDirectory, container, name);
      if (/^\d+\.log$/.test(name) && !(await hasContainer(path))) await rm(path, { force: true });
    }
}

/**
 * Whether the container of a link `<attempt>.log` is there. Its directory tells, which the Engine makes with the container: the log itself
 * comes only when it is started, and a link may be there before.
 */
async function hasContainer(attempt: string): Promise<boolean> {
  const engineLog = await readlink(attempt).catch(() => undefined);
  return engineLog !== undefined && (await exists(dirname(engineLog)));
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
