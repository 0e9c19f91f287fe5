import type { CSINode, PersistentVolumeClaim, Pod } from '../../src/kube/types.ts';
import { storageClassOf } from '../resources/storage/storage-class-name.ts';
import type { NodeInfo } from './node-info.ts';
import { claimNamesOf, type StorageView } from './pod-volumes.ts';

/**
 * NodeVolumeLimits (sheet §16): a CSI driver tells, by the CSINode object, how many of its volumes a node can have. A
 * volume that several pods share counts once; one that is yet to be made counts by its claim. Pure.
 */
export function exceedsVolumeLimit(pod: Pod, info: NodeInfo, storage: StorageView): boolean {
  const limits = limitsOf(storage.csiNode(info.node.metadata.name));
  if (limits.size === 0) return false;
  const wanted = volumesOf(pod, storage);
  if (![...wanted.keys()].some((driver) => limits.has(driver))) return false;
  const present = [...info.pods.values()].map((other) => volumesOf(other, storage));
  return [...wanted].some(([driver, names]) => {
    const limit = limits.get(driver);
    if (limit === undefined) return false;
    const used = new Set(present.flatMap((one) => [...(one.get(driver) ?? [])]));
    const added = [...names].filter((name) => !used.has(name));
    // What is there already stays; only more of it is refused.
    return added.length > 0 && used.size + added.length > limit;
  });
}

function limitsOf(node: CSINode | undefined): Map<string, number> {
  return new Map(
    (node?.spec.drivers ?? []).flatMap(({ name, allocatable }) =>
      allocatable?.count === undefined ? [] : [[name, allocatable.count] as const],
    ),
  );
}

/** Volumes of the pod by driver. */
function volumesOf(pod: Pod, storage: StorageView): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { name } of claimNamesOf(pod)) {
    const claim = storage.claim(pod.metadata.namespace!, name);
    const volume = claim && volumeOf(claim, storage);
    if (volume) found.set(volume.driver, (found.get(volume.driver) ?? new Set()).add(volume.name));
  }
  return found;
}

function volumeOf(claim: PersistentVolumeClaim, storage: StorageView): { driver: string; name: string } | undefined {
  const { volumeName } = claim.spec;
  if (volumeName) {
    const csi = storage.volume(volumeName)?.spec.csi;
    return csi && { driver: csi.driver, name: csi.volumeHandle };
  }
  const driver = storage.storageClass(storageClassOf(claim))?.provisioner;
  return driver ? { driver, name: `${claim.metadata.namespace}/${claim.metadata.name}` } : undefined;
}
