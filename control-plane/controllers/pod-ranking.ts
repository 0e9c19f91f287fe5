import type { Pod } from '../../src/kube/types.ts';
import { isPodReady, podCondition } from './pod-state.ts';

export const DELETION_COST_ANNOTATION = 'controller.kubernetes.io/pod-deletion-cost';

const PHASE_RANK: Record<string, number> = { Pending: 0, Unknown: 1, Running: 2 };

/**
 * Orders pods so that the first is the first to go when a ReplicaSet shrinks (upstream's ActivePodsWithRanks):
 * unassigned, pending, not ready, cheap, crowded on its node, ready for a shorter time, restarted more, younger.
 * `siblings` counts, by node name, the active pods of the same owner family.
 */
export function rankForDeletion(pods: readonly Pod[], siblings: ReadonlyMap<string, number>, nowMs: number): Pod[] {
  return [...pods].sort((a, b) => {
    for (const compare of COMPARISONS) {
      const order = compare(a, b, { siblings, nowMs });
      if (order !== 0) return order;
    }
    return a.metadata.uid < b.metadata.uid ? -1 : 1;
  });
}

type Comparison = (a: Pod, b: Pod, facts: { siblings: ReadonlyMap<string, number>; nowMs: number }) => number;

const COMPARISONS: Comparison[] = [
  (a, b) => Number(Boolean(a.spec.nodeName)) - Number(Boolean(b.spec.nodeName)),
  (a, b) => phaseRank(a) - phaseRank(b),
  (a, b) => Number(isPodReady(a)) - Number(isPodReady(b)),
  (a, b) => deletionCost(a) - deletionCost(b),
  (a, b, { siblings }) => siblingsOf(b, siblings) - siblingsOf(a, siblings),
  (a, b, { nowMs }) => (isPodReady(a) && isPodReady(b) ? byAgeBucket(readySinceMs(a), readySinceMs(b), nowMs) : 0),
  (a, b) => maxRestarts(b) - maxRestarts(a),
  (a, b, { nowMs }) =>
    byAgeBucket(Date.parse(a.metadata.creationTimestamp), Date.parse(b.metadata.creationTimestamp), nowMs),
];

const phaseRank = (pod: Pod) => PHASE_RANK[pod.status?.phase ?? 'Pending'] ?? 2;
const siblingsOf = (pod: Pod, siblings: ReadonlyMap<string, number>) => siblings.get(pod.spec.nodeName ?? '') ?? 0;

function deletionCost(pod: Pod): number {
  const text = pod.metadata.annotations?.[DELETION_COST_ANNOTATION] ?? '0';
  return /^-?\d+$/.test(text) ? Number(text) : 0;
}

function readySinceMs(pod: Pod): number {
  const since = podCondition(pod, 'Ready')?.lastTransitionTime;
  return since ? Date.parse(since) : 0;
}

/** Younger first, but ages are compared by powers of two only, so that the choice among similar ones is not predictable. */
function byAgeBucket(aMs: number, bMs: number, nowMs: number): number {
  const bucket = (sinceMs: number) => Math.floor(Math.log2(Math.max(1, nowMs - sinceMs)));
  return bucket(aMs) - bucket(bMs);
}

function maxRestarts(pod: Pod): number {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  return Math.max(0, ...[...containerStatuses, ...initContainerStatuses].map(({ restartCount }) => restartCount));
}
