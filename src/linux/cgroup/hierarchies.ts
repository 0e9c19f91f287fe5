import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** What is mounted below `/sys/fs/cgroup` (or the root that was given instead). */
export interface CgroupHierarchies {
  /** 1 also for hybrid hosts, where v2 is mounted at `unified` without controllers: resources are v1's there. */
  version: 1 | 2;
  mountRoot: string;
  /** Directory of every controller; on v2 all are the mount root itself. */
  controllers: ReadonlyMap<string, string>;
  /** Every hierarchy once, also those without controllers (`systemd`, `unified`): where a cgroup may have left directories. */
  directories: readonly string[];
}

/**
 * Finds version and controllers from the directories themselves: v2 has `cgroup.controllers` at the top; v1 has a
 * directory per hierarchy, named by its controllers (`cpu,cpuacct`), with links for each of several.
 */
export async function findHierarchies(mountRoot: string): Promise<CgroupHierarchies> {
  if (await exists(join(mountRoot, 'cgroup.controllers'))) {
    const names = (await readFile(join(mountRoot, 'cgroup.controllers'), 'utf8')).trim().split(/\s+/).filter(Boolean);
    return {
      version: 2,
      mountRoot,
      controllers: new Map(names.map((name) => [name, mountRoot])),
      directories: [mountRoot],
    };
  }
  const controllers = new Map<string, string>();
  const directories = new Set<string>();
  for (const entry of (await readdir(mountRoot)).sort()) {
    const directory = await realpath(join(mountRoot, entry)).catch(() => undefined);
    if (directory === undefined || !(await stat(directory)).isDirectory()) continue;
    directories.add(directory);
    if (entry !== 'systemd' && entry !== 'unified')
      for (const controller of entry.split(',')) controllers.set(controller, directory);
  }
  if (!controllers.has('cpu') || !controllers.has('memory'))
    throw new Error(
      `no cgroup v2 and no v1 controllers cpu and memory below ${mountRoot} (found: ${[...controllers.keys()].join(', ') || 'nothing'}); mount the cgroup file systems or name another root`,
    );
  return { version: 1, mountRoot, controllers, directories: [...directories] };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
