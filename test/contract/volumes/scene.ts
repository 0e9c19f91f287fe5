import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { MountedVolume } from '../../../agent/containers/mounts.ts';
import { createContainerMounts } from '../../../agent/volumes/container-mounts.ts';
import { createPodDirectories } from '../../../agent/volumes/pod-directories.ts';
import { createVolumes } from '../../../agent/volumes/volumes.ts';
import type { Container, Pod, Volume, VolumeMount } from '../../../src/kube/types.ts';
import { mountFileSystem, readMounts, unmount } from '../../../src/linux/mounts.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';

export const NO_ROOT = process.getuid?.() === 0 ? undefined : 'mounting needs root';

const FILES = { hosts: '/hosts', resolvConf: '/resolv', terminationMessage: '/message' };

/** A directory with a node's pod directories in it; whatever is mounted below is unmounted in the end. */
export async function createScene(t: ExecutionContext) {
  const base = await realpath(await mkdtemp('/tmp/berth-volumes-'));
  t.teardown(async () => {
    for (const { target } of readMounts().reverse()) if (target.startsWith(base)) unmount(target, { lazy: true });
    await rm(base, { recursive: true });
  });
  // A mount of its own, so that a test may share it without touching the rest of the host.
  mountFileSystem({ source: base, target: base, flags: ['bind'] });
  mountFileSystem({ source: 'none', target: base, flags: ['private'] });
  const events: string[] = [];
  const directories = createPodDirectories(join(base, 'root'));
  /** Each call is another life of the agent. */
  const life = () => ({
    volumes: createVolumes({
      directories,
      resources: { nodeAllocatable: () => ({ cpuMillis: 1000, memoryBytes: 2 ** 30, ephemeralStorageBytes: 2 ** 30 }) },
      events: { event: (_pod, type, reason, message) => events.push(`${type} ${reason} ${message}`) },
      log: silentLogger,
    }),
    mounts: createContainerMounts({ directories, clock: systemClock, log: silentLogger }),
  });
  const mountsBelow = (path: string) => readMounts().filter(({ target }) => target.startsWith(`${path}/`));
  return {
    base,
    directories,
    events,
    life,
    mountsBelow,
    async directory(name: string): Promise<string> {
      const path = join(base, name);
      await mkdir(path, { recursive: true });
      return path;
    },
  };
}

/** Its one container mounts every volume. */
export function podWith(volumes: Volume[], spec: Partial<Pod['spec']> = {}): Pod {
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default', uid: 'uid-1', resourceVersion: '1', creationTimestamp: '' },
    spec: { containers: [{ name: 'app', volumeMounts }], volumes, ...spec },
  };
}

/** The host paths that a container's volumeMounts come from. */
export async function sourcesOf(
  life: ReturnType<Awaited<ReturnType<typeof createScene>>['life']>,
  volumes: ReadonlyMap<string, MountedVolume>,
  volumeMounts: Omit<VolumeMount, 'mountPath'>[],
): Promise<string[]> {
  const container: Container = {
    name: 'app',
    volumeMounts: volumeMounts.map((mount, index) => ({ mountPath: `/m${index}`, ...mount })),
  };
  const pod = podWith([]);
  const made = await life.mounts.prepare({ pod, container, volumes, variables: new Map(), files: FILES });
  return made.slice(0, volumeMounts.length).map(({ Source }) => Source);
}
