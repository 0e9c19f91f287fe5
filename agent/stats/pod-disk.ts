import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Volume } from '../../src/kube/types.ts';
import { type DiskUsage, measureDiskUsage } from '../../src/linux/disk-usage.ts';
import type { FileSystem } from '../../src/linux/file-system.ts';
import { parseMountInfo } from '../../src/linux/mounts.ts';
import type { PodDirectories } from '../volumes/pod-directories.ts';
import { readFileSystem } from './fs.ts';
import type { PodTarget } from './targets.ts';

/** What a pod has on the node's disks. */
export interface PodDisk {
  /** Wall time of the measurement. */
  timeMs: number;
  /** Writable layers, by container id. */
  layers: ReadonlyMap<string, DiskUsage>;
  /** The file system that they lie on. */
  layerFs?: FileSystem;
  /** Logs of all runs of a container that are left, by its name. */
  logs: ReadonlyMap<string, DiskUsage>;
  volumes: VolumeDisk[];
  /** hosts, hostname, resolv.conf, termination messages, what the Engine itself keeps of the containers. */
  other: DiskUsage;
}

export interface VolumeDisk {
  name: string;
  usage: DiskUsage;
  fs?: FileSystem;
  /** It takes the node's local storage: not memory, and gone with the pod. */
  isEphemeral: boolean;
}

export interface PodDiskOptions {
  /** The Engine's data root. */
  dockerRoot: string;
  procRoot: string;
}

/** Upstream's plugin names of the volumes that are measured by walking them: they lie on this node and nothing else can be behind them. */
const WALKED: Partial<Record<keyof Volume, string>> = {
  emptyDir: 'kubernetes.io/empty-dir',
  configMap: 'kubernetes.io/configmap',
  secret: 'kubernetes.io/secret',
  downwardAPI: 'kubernetes.io/downward-api',
  projected: 'kubernetes.io/projected',
};

/**
 * Walks a pod's writable layers, logs, volumes and files. Never asks the Engine for sizes (R5), never enters what is mounted below.
 * @param pidOf first process of a container; its mount table tells where the writable layer is.
 * @param mountPoints of the host.
 */
export async function measurePodDisk(
  target: PodTarget,
  options: PodDiskOptions,
  deps: {
    directories: PodDirectories;
    pidOf(path: string): number | undefined;
    mountPoints: ReadonlySet<string>;
    nowMs(): number;
  },
  signal?: AbortSignal,
): Promise<PodDisk> {
  const { directories, mountPoints } = deps;
  const walk = { mountPoints, ...(signal && { signal }) };
  const other: DiskUsage = { bytes: 0, inodes: 0 };
  const measure = (path: string) => measureDiskUsage(path, walk).catch(rethrowAbort(signal));

  const layers = new Map<string, DiskUsage>();
  let layerFs: FileSystem | undefined;
  for (const container of target.containers) {
    const directory = await findWritableLayer(options.procRoot, deps.pidOf(container.path));
    const usage = directory === undefined ? undefined : await measure(directory);
    if (directory === undefined || !usage) continue;
    layers.set(container.id, usage);
    layerFs ??= await readFileSystem(directory);
  }

  const logs = new Map<string, DiskUsage>();
  for (const { id, name } of [...target.containers, ...target.ended, target.sandbox]) {
    const found = await measureEngineFiles(join(options.dockerRoot, 'containers', id), measure);
    if (name === target.sandbox.name) add(other, found.logs);
    else {
      const known = logs.get(name) ?? { bytes: 0, inodes: 0 };
      logs.set(name, add(known, found.logs));
    }
    add(other, found.other);
  }

  const volumes: VolumeDisk[] = [];
  for (const volume of target.pod.spec.volumes ?? []) {
    const kind = (Object.keys(volume) as (keyof Volume)[]).find((key) => key !== 'name') ?? 'emptyDir';
    const plugin = WALKED[kind];
    if (plugin === undefined) continue;
    const path = directories.volume(target.uid, plugin, volume.name);
    const usage = await measure(path);
    if (!usage) continue;
    const fs = await readFileSystem(path);
    // A tmpfs is no disk; whatever kind of volume it serves.
    volumes.push({ name: volume.name, usage, ...(fs && { fs }), isEphemeral: !mountPoints.has(path) });
  }

  for (const path of ['etc-hosts', 'etc-resolv.conf', 'containers', 'plugins'])
    add(other, await measure(join(directories.pod(target.uid), path)));
  return { timeMs: deps.nowMs(), layers, ...(layerFs && { layerFs }), logs, volumes, other };
}

/** A walk that meets a fault of the disk has no result; an abort ends everything. */
function rethrowAbort(signal: AbortSignal | undefined) {
  return (): undefined => {
    signal?.throwIfAborted();
    return undefined;
  };
}

function add(sum: DiskUsage, more: DiskUsage | undefined): DiskUsage {
  sum.bytes += more?.bytes ?? 0;
  sum.inodes += more?.inodes ?? 0;
  return sum;
}

/** The Engine's directory of a container: its logs (rotated ones too, of both drivers that keep files), and the rest. */
async function measureEngineFiles(
  directory: string,
  measure: (path: string) => Promise<DiskUsage | undefined>,
): Promise<{ logs: DiskUsage; other: DiskUsage }> {
  const found = { logs: { bytes: 0, inodes: 0 }, other: { bytes: 0, inodes: 0 } };
  for (const name of await readdir(directory).catch(() => [])) {
    const isLog = name === 'local-logs' || /-json\.log(\.|$)/.test(name);
    add(isLog ? found.logs : found.other, await measure(join(directory, name)));
  }
  return found;
}

/** Where a running container writes: the upper directory of the overlay that is its root, whatever store the Engine keeps images in. */
async function findWritableLayer(procRoot: string, pid: number | undefined): Promise<string | undefined> {
  if (pid === undefined) return undefined;
  const text = await readFile(join(procRoot, String(pid), 'mountinfo'), 'utf8').catch(() => '');
  const root = parseMountInfo(text).findLast(({ target }) => target === '/');
  if (root?.type !== 'overlay') return undefined;
  return root.superOptions.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
}
