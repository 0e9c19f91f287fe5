/**
 * What the node can give back before a pod has to go (implemented here, used by agent/eviction as its node-level reclaim).
 * Both do as much as they can: a single image or container that cannot be removed is logged and passed over. They reject
 * only when the Engine gives no list, or with the signal's reason. Whoever is short of room looks at the file system afterwards.
 */
export interface Reclaim {
  /** Removes every image that no container uses, the pause image and images younger than `imageMinimumGCAge` excepted. */
  deleteUnusedImages(signal: AbortSignal): Promise<void>;
  /** Removes ended containers and sandboxes: all of pods that are over, of the others all that no status needs any more. */
  deleteDeadContainers(signal: AbortSignal): Promise<void>;
}
