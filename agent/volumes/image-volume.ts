import { mkdir } from 'node:fs/promises';
import type { DockerEngine, ImageDetail } from '../../src/docker/engine.ts';
import { isDockerConflict, isDockerNotFound } from '../../src/docker/errors.ts';
import { isMountPoint, unmount } from '../../src/linux/mounts.ts';
import { ContainerStartError } from '../containers/errors.ts';
import { LABEL } from '../containers/identity.ts';
import type { MountedVolume } from '../containers/mounts.ts';
import type { Images } from '../images/images.ts';
import { bindRestricted, mountLayers, overlayLowers, unpackContainer } from './image-content.ts';
import type { VolumePlugin } from './plugin.ts';
import type { PodDirectories } from './pod-directories.ts';

export interface ImageVolumeDependencies {
  nodeName: string;
  docker: Pick<DockerEngine, 'createContainer' | 'removeContainer' | 'exportContainer'>;
  images: Pick<Images, 'ensureImage'>;
  directories: Pick<PodDirectories, 'plugin'>;
}

const PLUGIN = 'kubernetes.io/image';
/** Marks the containers that never run and keep an image from being removed; the value is the volume's name. */
const GUARD_LABEL = 'berth.image-volume';

/**
 * The content of an image, read-only and not executable. Where the Engine's layers are directories of this host they are
 * shown by a mount, without a copy, while a container that never starts holds them; else they are unpacked (ADR 15).
 */
export function createImageVolumePlugin(deps: ImageVolumeDependencies): VolumePlugin {
  const { docker, images, directories } = deps;
  const guardName = (uid: string, volume: string) => `berth-image_${uid}_${volume}`;

  async function removeGuard(name: string, signal?: AbortSignal): Promise<void> {
    try {
      await docker.removeContainer(name, { force: true }, signal);
    } catch (error) {
      if (!isDockerNotFound(error)) throw error;
    }
  }

  async function createGuard(uid: string, volume: string, image: ImageDetail, signal: AbortSignal): Promise<string> {
    const name = guardName(uid, volume);
    const config = {
      Image: image.id,
      // The Engine wants a command, also of what never runs.
      Entrypoint: ['/never-started'],
      Labels: { [LABEL.node]: deps.nodeName, [GUARD_LABEL]: volume },
      HostConfig: { NetworkMode: 'none' },
    };
    try {
      return (await docker.createContainer(name, config, signal)).id;
    } catch (error) {
      if (!isDockerConflict(error)) throw error;
      // Of an earlier life, perhaps of another image.
      await removeGuard(name, signal);
      return (await docker.createContainer(name, config, signal)).id;
    }
  }

  async function show(uid: string, volume: string, image: ImageDetail, path: string, signal: AbortSignal) {
    await mkdir(path, { recursive: true, mode: 0o750 });
    const guard = await createGuard(uid, volume, image, signal);
    const lowers = overlayLowers(image);
    if (lowers) return mountLayers(lowers, path);
    const content = directories.plugin(uid, PLUGIN, volume);
    await unpackContainer(docker, guard, content, signal);
    await removeGuard(guard, signal);
    bindRestricted(content, path);
  }

  return {
    kind: 'image',
    refreshes: false,
    directories: [PLUGIN],
    async setUp({ pod, volume, directory, signal = new AbortController().signal }) {
      const path = directory(PLUGIN);
      const mounted: MountedVolume = { hostPath: path, readOnly: true, agentOwned: false, keepsMountFlags: true };
      // By an earlier life of the agent: what runs with it must not see it change.
      if (isMountPoint(path)) return mounted;
      const { reference = '', pullPolicy } = volume.image!;
      try {
        const image = await images.ensureImage(
          {
            pod,
            image: reference,
            ...(pullPolicy && { pullPolicy: pullPolicy as 'Always' | 'IfNotPresent' | 'Never' }),
          },
          signal,
        );
        await show(pod.metadata.uid, volume.name, image, path, signal);
        return mounted;
      } catch (error) {
        // As upstream: only the containers that mount it wait, with the reason of the image.
        if (!(error instanceof ContainerStartError)) throw error;
        const { reason, message, retryAfterMs } = error;
        return { ...mounted, unavailable: { reason, message, ...(retryAfterMs !== undefined && { retryAfterMs }) } };
      }
    },
    async tearDown({ podUid, name, path }) {
      while (isMountPoint(path)) unmount(path);
      await removeGuard(guardName(podUid, name));
    },
  };
}
