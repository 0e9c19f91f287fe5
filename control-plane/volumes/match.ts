import { compareQuantities } from '../../src/kube/quantity.ts';
import type { Node, PersistentVolume, PersistentVolumeClaim } from '../../src/kube/types.ts';
import { selectorMatches } from '../resources/labels.ts';
import { storageClassOf } from '../resources/storage/storage-class-name.ts';
import { matchesNodeSelector } from '../scheduler/node-affinity.ts';

/** Which volume is for which claim (upstream's FindMatchingVolume). Pure; the binder and the scheduler decide alike. */

export const capacityOf = ({ spec }: PersistentVolume): string => spec.capacity?.['storage'] ?? '0';
const requestOf = ({ spec }: PersistentVolumeClaim): string => spec.resources?.requests?.['storage'] ?? '0';

/** Whether the volume names this claim, by name or, once bound, by its UID too. */
export function isReservedFor({ spec }: PersistentVolume, { metadata }: PersistentVolumeClaim): boolean {
  const { claimRef } = spec;
  return (
    claimRef !== undefined &&
    claimRef.name === metadata.name &&
    claimRef.namespace === metadata.namespace &&
    (!claimRef.uid || claimRef.uid === metadata.uid)
  );
}

/** Whether a node can reach the volume. */
export function reaches(volume: PersistentVolume, node: Node): boolean {
  const required = volume.spec.nodeAffinity?.required;
  return !required || matchesNodeSelector(required, node);
}

/** Why a claim may not have the volume that it names, in upstream's words; undefined: it may. */
export function whyUnsuitable(volume: PersistentVolume, claim: PersistentVolumeClaim): string | undefined {
  if (compareQuantities(capacityOf(volume), requestOf(claim)) < 0) return 'requested PV is too small';
  if (storageClassOf(volume) !== storageClassOf(claim)) return 'storageClassName does not match';
  if (modeOf(volume) !== modeOf(claim)) return 'incompatible volumeMode';
  return hasAccessModes(volume, claim) ? undefined : 'incompatible accessMode';
}

const modeOf = ({ spec }: PersistentVolume | PersistentVolumeClaim) => spec.volumeMode ?? 'Filesystem';

function hasAccessModes(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  return (claim.spec.accessModes ?? []).every((mode) => volume.spec.accessModes?.includes(mode));
}

export interface MatchOptions {
  /** Only volumes that this node reaches. */
  readonly node?: Node;
  /** Only volumes that name the claim: it waits for its first consumer. */
  readonly reservedOnly?: boolean;
  /** Names of volumes that are promised to others already. */
  readonly taken?: ReadonlySet<string>;
}

/** The volume that names the claim, else the smallest free one that is large enough; the first by name among equals. */
export function findVolume(
  claim: PersistentVolumeClaim,
  volumes: readonly PersistentVolume[],
  { node, reservedOnly = false, taken }: MatchOptions = {},
): PersistentVolume | undefined {
  const reserved = volumes.find((volume) => isReservedFor(volume, claim) && fits(volume, claim));
  if (reserved) return !node || reaches(reserved, node) ? reserved : undefined;
  if (reservedOnly) return undefined;
  return volumes
    .filter(
      (volume) =>
        !taken?.has(volume.metadata.name) &&
        isFree(volume) &&
        fits(volume, claim) &&
        storageClassOf(volume) === storageClassOf(claim) &&
        hasAccessModes(volume, claim) &&
        (!claim.spec.selector || selectorMatches(claim.spec.selector, volume.metadata.labels)) &&
        (!node || reaches(volume, node)),
    )
    .sort((a, b) => compareQuantities(capacityOf(a), capacityOf(b)) || (a.metadata.name < b.metadata.name ? -1 : 1))[0];
}

function isFree({ metadata, spec, status }: PersistentVolume): boolean {
  return !metadata.deletionTimestamp && !spec.claimRef && status?.phase === 'Available';
}

function fits(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  return compareQuantities(capacityOf(volume), requestOf(claim)) >= 0 && modeOf(volume) === modeOf(claim);
}

/** Order by what is asked for, the least first: a small claim leaves the large volumes to the others. */
export const compareRequests = (a: PersistentVolumeClaim, b: PersistentVolumeClaim): number =>
  compareQuantities(requestOf(a), requestOf(b));
