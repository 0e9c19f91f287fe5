import type { ContainerImage } from '../../src/kube/types.ts';

const MOST_NAMES = 5;

/** status.images: the largest first, digests before tags, at most five names each; `most` −1: all of them. */
export function computeNodeImages(
  images: readonly { repoTags: readonly string[]; repoDigests: readonly string[]; sizeBytes: number }[],
  most: number,
): ContainerImage[] {
  const named = images.map(({ repoDigests, repoTags, sizeBytes }) => ({
    names: [...repoDigests, ...repoTags].filter((name) => !name.includes('<none>')).slice(0, MOST_NAMES),
    sizeBytes,
  }));
  const sorted = named
    .filter(({ names }) => names.length > 0)
    .sort((a, b) => b.sizeBytes - a.sizeBytes || (a.names[0]! < b.names[0]! ? -1 : 1));
  return most < 0 ? sorted : sorted.slice(0, most);
}
