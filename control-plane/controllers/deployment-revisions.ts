import type { Deployment, ReplicaSet } from '../../src/kube/types.ts';
import { equalTemplates } from './template-hash.ts';

export const REVISION = 'deployment.kubernetes.io/revision';
export const REVISION_HISTORY = 'deployment.kubernetes.io/revision-history';
export const DESIRED_REPLICAS = 'deployment.kubernetes.io/desired-replicas';
export const MAX_REPLICAS = 'deployment.kubernetes.io/max-replicas';

/** Annotations of a Deployment that are about itself and don't go to its ReplicaSets. */
const NOT_COPIED = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  'deprecated.deployment.rollback.revisionHash',
  REVISION,
  REVISION_HISTORY,
  DESIRED_REPLICAS,
  MAX_REPLICAS,
]);

/** The revision of a ReplicaSet or Deployment; 0 when it has none. */
export function revisionOf(object: { metadata: { annotations?: Record<string, string> } }): number {
  const revision = Number(object.metadata.annotations?.[REVISION]);
  return Number.isSafeInteger(revision) ? revision : 0;
}

export function byCreation(a: ReplicaSet, b: ReplicaSet): number {
  const order = Date.parse(a.metadata.creationTimestamp) - Date.parse(b.metadata.creationTimestamp);
  return order || (a.metadata.name < b.metadata.name ? -1 : 1);
}

/** Splits a Deployment's ReplicaSets: the one with today's template (the oldest, should there be several), and the others. */
export function splitReplicaSets(deployment: Deployment, replicaSets: readonly ReplicaSet[]) {
  const sorted = [...replicaSets].sort(byCreation);
  const current = sorted.find((one) => equalTemplates(one.spec.template, deployment.spec.template));
  return { current, old: sorted.filter((one) => one !== current) };
}

/** The number of the current template's revision: one more than any old one. */
export function nextRevision(old: readonly ReplicaSet[]): number {
  return Math.max(0, ...old.map(revisionOf)) + 1;
}

/**
 * The annotations that the current ReplicaSet should carry: the Deployment's own, and its revision. A ReplicaSet that
 * becomes current again (a rollback) gets a new revision and remembers its former ones.
 */
export function currentAnnotations(
  deployment: Deployment,
  replicaSet: ReplicaSet | undefined,
  revision: number,
): Record<string, string> {
  const annotations = { ...replicaSet?.metadata.annotations };
  for (const [key, value] of Object.entries(deployment.metadata.annotations ?? {}))
    if (!NOT_COPIED.has(key)) annotations[key] = value;
  const before = annotations[REVISION];
  if (before !== undefined && revisionOf({ metadata: { annotations } }) >= revision) return annotations;
  annotations[REVISION] = String(revision);
  if (before !== undefined)
    annotations[REVISION_HISTORY] = [annotations[REVISION_HISTORY], before].filter(Boolean).join(',');
  return annotations;
}
