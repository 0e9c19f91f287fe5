import type { ContainerSummary, ImageSummary } from '../../src/docker/engine.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { ImageRecord } from './image-plan.ts';

/** Remembers since when images are known and when they were used last. Bounded by the images that there are. */
export interface ImageRecords {
  /** Compares with what the Engine has now. */
  update(images: readonly ImageSummary[], containers: readonly ContainerSummary[]): ImageRecord[];
  /** It is about to be used: as good as seen for the first time. */
  touch(id: string): void;
  forget(id: string): void;
}

export function createImageRecords(clock: Clock): ImageRecords {
  const known = new Map<string, Pick<ImageRecord, 'firstSeenMs' | 'lastUsedMs'>>();

  return {
    update(images, containers) {
      const nowMs = clock.monotonicMs();
      const inUse = new Set(containers.map(({ imageId }) => imageId));
      const present = new Set(images.map(({ id }) => id));
      for (const id of known.keys()) if (!present.has(id)) known.delete(id);
      return images.map(({ id, repoTags, repoDigests, sizeBytes }) => {
        const isInUse = inUse.has(id);
        const { firstSeenMs, lastUsedMs } = known.get(id) ?? { firstSeenMs: nowMs, lastUsedMs: undefined };
        const times = { firstSeenMs, lastUsedMs: isInUse ? nowMs : lastUsedMs };
        known.set(id, times);
        const names = [...repoTags, ...repoDigests].filter((name) => !name.includes('<none>'));
        return { id, names, sizeBytes, isInUse, ...times };
      });
    },
    touch(id) {
      const nowMs = clock.monotonicMs();
      known.set(id, { firstSeenMs: nowMs, lastUsedMs: nowMs });
    },
    forget(id) {
      known.delete(id);
    },
  };
}
