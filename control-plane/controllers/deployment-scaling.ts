import type { Deployment, ReplicaSet } from '../../src/kube/types.ts';
import { byCreation, DESIRED_REPLICAS, MAX_REPLICAS } from './deployment-revisions.ts';

/** A ReplicaSet and the size that it should have. */
export interface Scaling {
  replicaSet: ReplicaSet;
  replicas: number;
}

export const wantedReplicas = (object: Deployment | ReplicaSet): number => object.spec.replicas ?? 1;
export const isActive = (replicaSet: ReplicaSet): boolean => wantedReplicas(replicaSet) > 0;
/** Not more than wanted: where the status still counts pods that are about to go, upstream takes them for spare ones. */
const availableReplicas = (replicaSet: ReplicaSet): number =>
  Math.min(replicaSet.status?.availableReplicas ?? 0, wantedReplicas(replicaSet));
const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0);
export const totalWanted = (replicaSets: readonly ReplicaSet[]): number => sum(replicaSets.map(wantedReplicas));

/** maxSurge and maxUnavailable in pods: surge rounds up, unavailable down, and both 0 would never move: unavailable 1. */
export function rolloutBounds(deployment: Deployment): { maxSurge: number; maxUnavailable: number } {
  if (deployment.spec.strategy?.type === 'Recreate') return { maxSurge: 0, maxUnavailable: 0 };
  const { maxSurge = '25%', maxUnavailable = '25%' } = deployment.spec.strategy?.rollingUpdate ?? {};
  const replicas = wantedReplicas(deployment);
  const surge = scaledValue(maxSurge, replicas, Math.ceil);
  let unavailable = scaledValue(maxUnavailable, replicas, Math.floor);
  if (surge === 0 && unavailable === 0) unavailable = 1;
  return { maxSurge: surge, maxUnavailable: Math.min(unavailable, replicas) };
}

function scaledValue(value: number | string, total: number, round: (n: number) => number): number {
  const percent = /^(\d+)%$/.exec(String(value));
  return percent ? round((Number(percent[1]) * total) / 100) : Number(value);
}

/** The annotations by which a later scaling finds its proportions. */
export function sizeAnnotations(deployment: Deployment): Record<string, string> {
  const replicas = wantedReplicas(deployment);
  return {
    [DESIRED_REPLICAS]: String(replicas),
    [MAX_REPLICAS]: String(replicas + rolloutBounds(deployment).maxSurge),
  };
}

/** True when spec.replicas of the Deployment was changed since its ReplicaSets were last sized. */
export function isScalingEvent(deployment: Deployment, replicaSets: readonly ReplicaSet[]): boolean {
  return replicaSets.filter(isActive).some((replicaSet) => {
    const desired = replicaSet.metadata.annotations?.[DESIRED_REPLICAS];
    return desired !== undefined && desired !== String(wantedReplicas(deployment));
  });
}

/** The size of the current ReplicaSet in the next step of a rollout; `all` includes it where it exists. */
export function currentSize(
  deployment: Deployment,
  all: readonly ReplicaSet[],
  current: ReplicaSet | undefined,
): number {
  const wanted = wantedReplicas(deployment);
  const now = current ? wantedReplicas(current) : 0;
  if (now >= wanted || deployment.spec.strategy?.type === 'Recreate') return wanted;
  const room = wanted + rolloutBounds(deployment).maxSurge - totalWanted(all);
  return room <= 0 ? now : now + Math.min(room, wanted - now);
}

/**
 * Which old ReplicaSets may shrink now, keeping `replicas - maxUnavailable` pods available: first the pods that are not
 * available anyway, then as many as there are available ones to spare.
 */
export function shrinkOld(deployment: Deployment, current: ReplicaSet, old: readonly ReplicaSet[]): Scaling[] {
  const all = [current, ...old];
  const minAvailable = wantedReplicas(deployment) - rolloutBounds(deployment).maxUnavailable;
  const currentUnavailable = wantedReplicas(current) - availableReplicas(current);
  const maxRemoved = totalWanted(all) - minAvailable - currentUnavailable;
  if (totalWanted(old) === 0 || maxRemoved <= 0) return [];

  const sizes = new Map(old.map((replicaSet) => [replicaSet, wantedReplicas(replicaSet)]));
  let unhealthyLeft = maxRemoved;
  let spareLeft = Math.max(0, sum(all.map(availableReplicas)) - minAvailable);
  const sorted = [...old].filter(isActive).sort(byCreation);
  for (const replicaSet of sorted) {
    const unhealthy = Math.min(unhealthyLeft, Math.max(0, sizes.get(replicaSet)! - availableReplicas(replicaSet)));
    unhealthyLeft -= unhealthy;
    sizes.set(replicaSet, sizes.get(replicaSet)! - unhealthy);
  }
  for (const replicaSet of sorted) {
    const removed = Math.max(0, Math.min(spareLeft, sizes.get(replicaSet)!));
    spareLeft -= removed;
    sizes.set(replicaSet, sizes.get(replicaSet)! - removed);
  }
  return sorted
    .map((replicaSet) => ({ replicaSet, replicas: sizes.get(replicaSet)! }))
    .filter(({ replicaSet, replicas }) => replicas !== wantedReplicas(replicaSet));
}

/**
 * Sizes after a change of spec.replicas: a single active ReplicaSet takes it all; in the middle of a rollout the change is
 * spread over the active ones in proportion to their sizes.
 */
export function scaleProportionally(
  deployment: Deployment,
  current: ReplicaSet | undefined,
  old: readonly ReplicaSet[],
): Scaling[] {
  const wanted = wantedReplicas(deployment);
  const only = activeOrLatest(current, old);
  if (only) return [{ replicaSet: only, replicas: wanted }];
  if (current && isSaturated(deployment, current))
    return old.filter(isActive).map((replicaSet) => ({ replicaSet, replicas: 0 }));
  if (deployment.spec.strategy?.type === 'Recreate') return [];

  const active = [...old, ...(current ? [current] : [])].filter(isActive);
  const allowed = wanted > 0 ? wanted + rolloutBounds(deployment).maxSurge : 0;
  const toAdd = allowed - totalWanted(active);
  // The biggest first; among equals the newest when growing, the oldest when shrinking.
  const sorted = active.sort(
    (a, b) => wantedReplicas(b) - wantedReplicas(a) || (toAdd > 0 ? byCreation(b, a) : byCreation(a, b)),
  );
  let added = 0;
  const scalings = sorted.map((replicaSet) => {
    const share = proportion(deployment, replicaSet, toAdd, added);
    added += share;
    return { replicaSet, replicas: wantedReplicas(replicaSet) + share };
  });
  // What rounding left over goes to the biggest.
  if (scalings[0]) scalings[0].replicas = Math.max(0, scalings[0].replicas + toAdd - added);
  return scalings;
}

/** The one ReplicaSet that scaling is about when at most one is active. */
function activeOrLatest(current: ReplicaSet | undefined, old: readonly ReplicaSet[]): ReplicaSet | undefined {
  const active = [...old, ...(current ? [current] : [])].filter(isActive);
  if (active.length === 0) return current ?? [...old].sort(byCreation).at(-1);
  return active.length === 1 ? active[0] : undefined;
}

/** The rollout is over: the current ReplicaSet is full and all its pods are available. */
function isSaturated(deployment: Deployment, current: ReplicaSet): boolean {
  const wanted = wantedReplicas(deployment);
  return (
    wantedReplicas(current) === wanted &&
    current.metadata.annotations?.[DESIRED_REPLICAS] === String(wanted) &&
    availableReplicas(current) === wanted
  );
}

function proportion(deployment: Deployment, replicaSet: ReplicaSet, toAdd: number, added: number): number {
  if (toAdd === 0 || toAdd === added) return 0;
  const share = fraction(deployment, replicaSet);
  return toAdd > 0 ? Math.min(share, toAdd - added) : Math.max(share, toAdd - added);
}

function fraction(deployment: Deployment, replicaSet: ReplicaSet): number {
  const size = wantedReplicas(replicaSet);
  const wanted = wantedReplicas(deployment);
  if (wanted === 0) return -size;
  const before = Number(replicaSet.metadata.annotations?.[MAX_REPLICAS] ?? deployment.status?.replicas ?? 0);
  if (!before) return 0;
  return Math.round((size * (wanted + rolloutBounds(deployment).maxSurge)) / before) - size;
}
