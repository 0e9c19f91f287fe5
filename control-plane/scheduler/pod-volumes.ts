import type {
  CSINode,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
} from '../../src/kube/types.ts';
import { isControlledBy } from '../controllers/ownership.ts';
import { storageClassOf } from '../resources/storage/storage-class-name.ts';
import { BIND_COMPLETED } from '../volumes/annotations.ts';
import { compareRequests, findVolume, reaches } from '../volumes/match.ts';
import type { NodeInfo } from './node-info.ts';

/** VolumeBinding and VolumeRestrictions (sheet §16): which nodes a pod's claims allow. Pure; the texts are upstream's. */

/** Storage at the moment of one decision. */
export interface StorageView {
  claim(namespace: string, name: string): PersistentVolumeClaim | undefined;
  volume(name: string): PersistentVolume | undefined;
  /** A volume that is promised to the claim of a pod whose binding is under way refers to that claim already. */
  volumes(): readonly PersistentVolume[];
  storageClass(name: string): StorageClass | undefined;
  /** By the node's name. */
  csiNode(name: string): CSINode | undefined;
}

/** A pod's claims, sorted by what is to be done about them. */
export interface PodClaims {
  /** Why the pod fits nowhere; the rest is empty then. */
  readonly refusal?: string;
  readonly bound: readonly PersistentVolumeClaim[];
  /** Wait for this pod: a volume is chosen with its node, or made there. */
  readonly toBind: readonly PersistentVolumeClaim[];
}

const REFUSED = (refusal: string): PodClaims => ({ refusal, bound: [], toBind: [] });

/** Names of the claims that a pod uses; those of generic ephemeral volumes with `ephemeral`. */
export function claimNamesOf(pod: Pod): { name: string; ephemeral: boolean }[] {
  return (pod.spec.volumes ?? []).flatMap((volume): { name: string; ephemeral: boolean }[] => {
    if (volume.persistentVolumeClaim) return [{ name: volume.persistentVolumeClaim.claimName, ephemeral: false }];
    return volume.ephemeral ? [{ name: `${pod.metadata.name}-${volume.name}`, ephemeral: true }] : [];
  });
}

export function sortClaims(pod: Pod, storage: StorageView): PodClaims {
  const bound: PersistentVolumeClaim[] = [];
  const toBind: PersistentVolumeClaim[] = [];
  for (const { name, ephemeral } of claimNamesOf(pod)) {
    const claim = storage.claim(pod.metadata.namespace!, name);
    const quoted = JSON.stringify(name);
    if (!claim)
      return REFUSED(
        ephemeral
          ? `waiting for ephemeral volume controller to create the persistentvolumeclaim ${quoted}`
          : `persistentvolumeclaim ${quoted} not found`,
      );
    if (ephemeral && !isControlledBy(claim, pod))
      return REFUSED(
        `PVC ${pod.metadata.namespace}/${name} was not created for pod ${pod.metadata.namespace}/${pod.metadata.name} (pod is not owner)`,
      );
    if (claim.status?.phase === 'Lost')
      return REFUSED(
        `persistentvolumeclaim ${quoted} bound to non-existent persistentvolume ${JSON.stringify(claim.spec.volumeName ?? '')}`,
      );
    if (claim.metadata.deletionTimestamp) return REFUSED(`persistentvolumeclaim ${quoted} is being deleted`);
    if (isBound(claim)) bound.push(claim);
    else if (waitsForConsumer(claim, storage)) toBind.push(claim);
    else return REFUSED('pod has unbound immediate PersistentVolumeClaims');
  }
  return { bound, toBind };
}

export function isBound({ metadata, spec }: PersistentVolumeClaim): boolean {
  return Boolean(spec.volumeName) && metadata.annotations?.[BIND_COMPLETED] !== undefined;
}

function waitsForConsumer(claim: PersistentVolumeClaim, storage: StorageView): boolean {
  if (claim.spec.volumeName) return false;
  return storage.storageClass(storageClassOf(claim))?.volumeBindingMode === 'WaitForFirstConsumer';
}

/** What is written for a pod's claims before it is bound to a node. */
export interface VolumeDecision {
  readonly matches: readonly { readonly claim: PersistentVolumeClaim; readonly volume: PersistentVolume }[];
  /** Their provisioner is told the node. */
  readonly provisions: readonly PersistentVolumeClaim[];
}

/** Volumes for the claims that wait, on one node; or why there are none. The smallest request chooses first. */
export function decideVolumes(claims: PodClaims, node: Node, storage: StorageView): VolumeDecision | string {
  for (const { spec } of claims.bound) {
    const volume = storage.volume(spec.volumeName!);
    if (!volume) return 'node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)';
    if (!reaches(volume, node)) return "node(s) didn't match PersistentVolume's node affinity";
  }
  const taken = new Set<string>();
  const matches: { claim: PersistentVolumeClaim; volume: PersistentVolume }[] = [];
  const provisions: PersistentVolumeClaim[] = [];
  const bySize = claims.toBind.toSorted(compareRequests);
  for (const claim of bySize) {
    const volume = findVolume(claim, storage.volumes(), { node, taken });
    if (volume) {
      taken.add(volume.metadata.name);
      matches.push({ claim, volume });
    } else if (canProvision(storage.storageClass(storageClassOf(claim)), node)) provisions.push(claim);
    else return "node(s) didn't find available persistent volumes to bind";
  }
  return { matches, provisions };
}

function canProvision(storageClass: StorageClass | undefined, node: Node): boolean {
  if (!storageClass?.provisioner || storageClass.provisioner.startsWith('kubernetes.io/')) return false;
  const topologies = storageClass.allowedTopologies ?? [];
  return (
    topologies.length === 0 ||
    topologies.some(({ matchLabelExpressions = [] }) =>
      matchLabelExpressions.every(({ key, values }) => values.includes(node.metadata.labels?.[key] ?? '')),
    )
  );
}

/** ReadWriteOncePod: one pod in the whole cluster, wherever it runs. */
export function violatesOncePod(pod: Pod, claims: PodClaims, nodes: readonly NodeInfo[]): string | undefined {
  const exclusive = [...claims.bound, ...claims.toBind].filter(({ spec }) =>
    spec.accessModes?.includes('ReadWriteOncePod'),
  );
  for (const claim of exclusive) {
    const isUsed = nodes.some(({ pods }) =>
      [...pods.values()].some(
        (other) =>
          other.metadata.uid !== pod.metadata.uid &&
          other.metadata.namespace === pod.metadata.namespace &&
          claimNamesOf(other).some(({ name }) => name === claim.metadata.name),
      ),
    );
    if (isUsed) return 'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode';
  }
  return undefined;
}
