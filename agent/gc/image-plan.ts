/** When images are collected; the fields `imageGC…` and `image…GCAge` of the configuration. */
export interface ImageGcPolicy {
  /** At or above this share of the file system that is in use, images go; 100: never for want of room. */
  highThresholdPercent: number;
  /** Until this share is left. */
  lowThresholdPercent: number;
  /** An image that came, or that a pod asked for, less than this ago stays: it may be about to be used. */
  minimumAgeMs: number;
  /** An unused image older than this goes whatever room there is; 0: none does. */
  maximumAgeMs: number;
}

/** An image of the Engine and what is known of its use; times are monotonic milliseconds. */
export interface ImageRecord {
  /** `sha256:…` */
  id: string;
  /** Tags and digests by which it is known; an image goes when the last of them has gone. */
  names: readonly string[];
  sizeBytes: number;
  /** When it was seen for the first time, or a pod asked for it. */
  firstSeenMs: number;
  /** When a container was last seen with it; undefined: never. */
  lastUsedMs: number | undefined;
  /** A container has it now, running or not. */
  isInUse: boolean;
}

export interface FileSystemSpace {
  capacityBytes: number;
  availableBytes: number;
}

/** What must go to get from the high threshold to the low one; 0 while it is not reached. */
export function computeBytesToFree(space: FileSystemSpace, policy: ImageGcPolicy): number {
  const { capacityBytes } = space;
  const availableBytes = Math.min(space.availableBytes, capacityBytes);
  if (policy.highThresholdPercent >= 100) return 0;
  // As upstream: whole percents, rounded up.
  const usedPercent = 100 - Math.floor((availableBytes * 100) / capacityBytes);
  if (usedPercent < policy.highThresholdPercent) return 0;
  return Math.max(0, Math.floor((capacityBytes * (100 - policy.lowThresholdPercent)) / 100) - availableBytes);
}

/** Images that may go, in the order in which they do: the longest unused first, never used ones before all; then the longest known. */
export function selectImages(
  images: readonly ImageRecord[],
  policy: Pick<ImageGcPolicy, 'minimumAgeMs'>,
  nowMs: number,
): ImageRecord[] {
  const never = Number.NEGATIVE_INFINITY;
  return images
    .filter(({ isInUse, firstSeenMs }) => !isInUse && nowMs - firstSeenMs >= policy.minimumAgeMs)
    .sort((a, b) => compare(a.lastUsedMs ?? never, b.lastUsedMs ?? never) || a.firstSeenMs - b.firstSeenMs);
}

/**
 * Of those the ones that are too old. Nobody knows what was used before the agent came, so none is older than that. An image that was
 * never used is as old as the first sight of it (upstream takes it for older than anything and may remove what was just pulled).
 */
export function selectOldImages(
  eligible: readonly ImageRecord[],
  policy: Pick<ImageGcPolicy, 'maximumAgeMs'>,
  nowMs: number,
): ImageRecord[] {
  if (policy.maximumAgeMs === 0) return [];
  return eligible.filter(({ lastUsedMs, firstSeenMs }) => nowMs - (lastUsedMs ?? firstSeenMs) > policy.maximumAgeMs);
}

/** −∞ from −∞ is no number. */
const compare = (a: number, b: number) => (a < b ? -1 : a > b ? 1 : 0);
