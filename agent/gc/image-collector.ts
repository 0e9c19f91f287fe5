import type { DockerEngine } from '../../src/docker/engine.ts';
import { isDockerConflict, isDockerNotFound } from '../../src/docker/errors.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { Counter, type Registry } from '../../src/runtime/metrics.ts';
import type { ImageParts } from '../images/image-parts.ts';
import {
  computeBytesToFree,
  type FileSystemSpace,
  type ImageGcPolicy,
  type ImageRecord,
  selectImages,
  selectOldImages,
} from './image-plan.ts';
import { createImageRecords } from './image-records.ts';
import type { NodeEvent } from './node-event.ts';

export interface ImageCollectorDependencies {
  docker: Pick<DockerEngine, 'listImages' | 'listContainers' | 'inspectImage' | 'removeImage'>;
  /** Of the file system that holds the Engine's images. */
  imageSpace(): Promise<FileSystemSpace>;
  /** Whether an image may go at all; on an Engine that is not ours alone not every one may. */
  mayRemove(imageId: string): Promise<boolean>;
  /** Images have gone: what is written down about their pulls may go too. */
  imageParts: Pick<ImageParts, 'recover'>;
  nodeEvent: NodeEvent;
  registry: Registry;
  clock: Clock;
  log: Logger;
}

export interface ImageCollector {
  /** Sees which images there are and which are used, and removes none: ages are known as exactly as one looks often. */
  look(signal: AbortSignal): Promise<void>;
  /** One round: images that are too old, then as many as the thresholds ask for. Throws when that was not to be had, in upstream's words. */
  collect(signal: AbortSignal): Promise<void>;
  /** All that nobody uses and that is not too young. */
  removeUnused(signal: AbortSignal): Promise<void>;
  /** A pod is about to use it. */
  touch(imageId: string): void;
}

type RemovalReason = 'age' | 'space';

/** @param pinned the pause image: never removed, by whatever name it goes beside that */
export function createImageCollector(
  policy: ImageGcPolicy,
  pinned: string,
  deps: ImageCollectorDependencies,
): ImageCollector {
  const { docker, clock, log } = deps;
  const records = createImageRecords(clock);
  const collected = new Counter({
    name: 'kubelet_image_garbage_collected_total',
    help: 'Total number of images garbage collected by the kubelet, whether through disk usage or image age.',
    labelNames: ['reason'],
    registers: [deps.registry],
  });

  async function observe(signal: AbortSignal): Promise<ImageRecord[]> {
    // Images first: a container that is made of one in between is on the list then.
    const images = await docker.listImages(signal);
    return records.update(images, await docker.listContainers({}, signal));
  }

  async function eligible(signal: AbortSignal): Promise<ImageRecord[]> {
    const observed = await observe(signal);
    const pinnedId = await docker.inspectImage(pinned, signal).then(
      ({ id }) => id,
      () => undefined,
    );
    const found = selectImages(observed, policy, clock.monotonicMs());
    const allowed = await Promise.all(found.map(({ id }) => deps.mayRemove(id)));
    return found.filter(({ id, names }, index) => allowed[index] && id !== pinnedId && !names.includes(pinned));
  }

  /**
   * By each of its names: the Engine removes nothing by its id that has several. Never by force, so that what has found a use
   * meanwhile stays. @returns whether it is gone
   */
  async function remove({ id, names, sizeBytes }: ImageRecord, reason: RemovalReason, signal: AbortSignal) {
    try {
      for (const name of [...names, id])
        await docker.removeImage(name, signal).catch((error) => {
          if (!isDockerNotFound(error)) throw error;
        });
    } catch (error) {
      signal.throwIfAborted();
      const why = isDockerConflict(error) ? 'somebody uses it' : 'the Engine refuses';
      log.info({ image: names[0] ?? id, err: error }, `an image stays: ${why}`);
      return false;
    }
    records.forget(id);
    collected.inc({ reason });
    log.info({ image: names[0] ?? id, sizeBytes, reason }, 'image removed');
    return true;
  }

  /** Until the file system has so much room; images share layers, so what their sizes promise is not what one gets. @returns bytes that it has more */
  async function free(wantedBytes: number, candidates: readonly ImageRecord[], signal: AbortSignal): Promise<number> {
    const { availableBytes: before } = await deps.imageSpace();
    let freedBytes = 0;
    let removed = 0;
    for (const image of candidates) {
      if (!(await remove(image, 'space', signal))) continue;
      removed++;
      freedBytes = (await deps.imageSpace()).availableBytes - before;
      if (freedBytes >= wantedBytes) break;
    }
    if (removed > 0) await deps.imageParts.recover(signal);
    return Math.max(0, freedBytes);
  }

  async function removeOld(candidates: readonly ImageRecord[], signal: AbortSignal): Promise<ImageRecord[]> {
    const old = selectOldImages(candidates, policy, clock.monotonicMs());
    const gone = new Set<ImageRecord>();
    for (const image of old) if (await remove(image, 'age', signal)) gone.add(image);
    if (gone.size > 0) await deps.imageParts.recover(signal);
    return candidates.filter((image) => !gone.has(image));
  }

  return {
    async look(signal) {
      await observe(signal);
    },
    async collect(signal) {
      const candidates = await removeOld(await eligible(signal), signal);
      const space = await deps.imageSpace();
      if (space.capacityBytes === 0) {
        const message = 'invalid capacity 0 on image filesystem';
        deps.nodeEvent('Warning', 'InvalidDiskCapacity', message);
        throw new Error(message);
      }
      const wantedBytes = computeBytesToFree(space, policy);
      if (wantedBytes === 0) return;
      log.info(
        { ...space, wantedBytes },
        'the file system of images is over the high threshold: removing unused images',
      );
      const freedBytes = await free(wantedBytes, candidates, signal);
      if (freedBytes >= wantedBytes) return;
      const message = `Failed to garbage collect required amount of images. Attempted to free ${wantedBytes} bytes, but only found ${freedBytes} bytes eligible to free.`;
      deps.nodeEvent('Warning', 'FreeDiskSpaceFailed', message);
      throw new Error(message);
    },
    async removeUnused(signal) {
      const candidates = await eligible(signal);
      log.info({ images: candidates.length }, 'removing all unused images');
      await free(Number.POSITIVE_INFINITY, candidates, signal);
    },
    touch: records.touch,
  };
}
