import type { Pod } from '../../src/kube/types.ts';
import { isMountPoint, type Mount, makePrivate, readMounts, unmount } from '../../src/linux/mounts.ts';
import { removeTree } from '../../src/linux/remove-tree.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { EventSink } from '../pods/ports.ts';
import type { VolumeDirectory, VolumePlugin } from './plugin.ts';
import type { PodDirectories } from './pod-directories.ts';
import type { VolumeMetrics } from './volume-metrics.ts';

export interface CleanUpDependencies {
  directories: PodDirectories;
  plugins: ReadonlyMap<string, VolumePlugin>;
  events: EventSink;
  metrics: VolumeMetrics;
  clock: Clock;
  log: Logger;
}

/**
 * Gives back what the volumes of a pod hold and deletes its directory, from what the disk and the kernel tell: the pod
 * may be long gone, and another life of the agent may have mounted it. Nothing is deleted while something is mounted
 * below, and what this agent did not mount it does not unmount (R7).
 * @throws when something is left; every volume was tried.
 */
export async function removePodDirectory(
  directories: PodDirectories,
  uid: string,
  tearDown: (volume: VolumeDirectory) => void | Promise<void> = unmountVolume,
): Promise<void> {
  endSubPaths(directories.subPaths(uid));
  const errors: Error[] = [];
  for (const volume of await directories.volumes(uid)) {
    try {
      await tearDown(volume);
    } catch (error) {
      const message = `UnmountVolume.TearDown failed for volume "${volume.name}" : ${messageOf(error)}`;
      errors.push(new Error(message, { cause: error }));
    }
  }
  if (errors.length > 0) throw new AggregateError(errors, errors.map(({ message }) => message).join('; '));
  const root = directories.pod(uid);
  const left = readMounts().filter(({ target }) => target === root || target.startsWith(`${root}/`));
  if (left.length > 0) throw new Error(foreignMounts(root, left));
  await removeTree(root);
}

/** Undoes a mount that is the volume itself, such as a tmpfs. */
function unmountVolume({ path }: VolumeDirectory): void {
  while (isMountPoint(path)) unmount(path);
}

/** Those at `<volume>/<container>/<index>`; what is mounted in one goes with it. */
function endSubPaths(root: string): void {
  const tops = readMounts().filter(
    ({ target }) => target.startsWith(`${root}/`) && target.slice(root.length + 1).split('/').length === 3,
  );
  for (const { target } of tops.reverse()) {
    // A bind shares what is mounted in it with its origin: unmounting one unmounts the other, unless they are parted first.
    makePrivate(target);
    unmount(target, { lazy: true });
  }
}

/** Clean-up that tells of each obstacle once, however often it is tried (R7). */
export function createCleanUp({ directories, plugins, events, metrics, clock, log }: CleanUpDependencies) {
  /** By pod UID: what was told last. */
  const told = new Map<string, string>();

  async function tearDown(volume: VolumeDirectory): Promise<void> {
    const plugin = [...plugins.values()].find((one) => one.directories.includes(volume.plugin));
    const startedMs = clock.monotonicMs();
    let succeeded = false;
    try {
      if (plugin?.tearDown) await plugin.tearDown(volume);
      else if (plugin) unmountVolume(volume);
      succeeded = true;
    } finally {
      metrics.operation('volume_unmount', volume.plugin, (clock.monotonicMs() - startedMs) / 1000, succeeded);
    }
  }

  return {
    /**
     * @returns whether nothing is left. If not, an event (given the pod) and the log say why, and the caller tries again
     * later.
     */
    async remove(uid: string, pod?: Pod): Promise<boolean> {
      try {
        await removePodDirectory(directories, uid, tearDown);
        told.delete(uid);
        return true;
      } catch (error) {
        const message = messageOf(error);
        if (told.get(uid) === message) return false;
        told.set(uid, message);
        const key = pod && `${pod.metadata.namespace}/${pod.metadata.name}`;
        log.warn({ pod: key, uid, err: error }, 'pod directory kept');
        if (pod) events.event(pod, 'Warning', 'FailedUnMount', message);
        return false;
      }
    },
  };
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

function foreignMounts(root: string, mounts: readonly Mount[]): string {
  const list = mounts.map(({ target, type, source }) => `${target} (${type} of ${source})`).join(', ');
  return `${root} is kept, since something is mounted there that this node's agent did not mount: ${list}. Unmount it, and the directory is removed`;
}
