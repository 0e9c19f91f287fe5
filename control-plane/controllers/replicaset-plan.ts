import { mapSelector } from '../../src/kube/selectors.ts';
import type { Draft, KubeObject, Pod, PodTemplateSpec, ReplicaSet, ReplicaSetStatus } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { withCondition, withoutCondition } from './conditions.ts';
import { controllerReference } from './ownership.ts';
import { rankForDeletion } from './pod-ranking.ts';
import { isPodActive, isPodReady, isPodTerminal, msUntilAvailable } from './pod-state.ts';

/** At most this many pods are created or deleted in one pass. */
export const BURST_REPLICAS = 500;

export interface ReplicaSetPlan {
  /** How many pods to create. */
  create: number;
  /** Pods to delete, the least valuable first. */
  remove: Pod[];
}

/** What to do so that as many pods are active as the ReplicaSet wants. `siblings`: active pods of the owner family by node. */
export function computeReplicaSetPlan(
  replicaSet: ReplicaSet,
  owned: readonly Pod[],
  siblings: ReadonlyMap<string, number>,
  nowMs: number,
): ReplicaSetPlan {
  if (replicaSet.metadata.deletionTimestamp) return { create: 0, remove: [] };
  const active = owned.filter(isPodActive);
  const excess = active.length - (replicaSet.spec.replicas ?? 1);
  if (excess <= 0) return { create: Math.min(-excess, BURST_REPLICAS), remove: [] };
  return { create: 0, remove: rankForDeletion(active, siblings, nowMs).slice(0, Math.min(excess, BURST_REPLICAS)) };
}

/** The pod that a workload's template describes, owned by the workload; its name is generated from the owner's. */
export function buildPodFromTemplate(template: PodTemplateSpec, owner: KubeObject): Draft<Pod> {
  const { labels, annotations, finalizers } = template.metadata ?? {};
  return {
    metadata: {
      generateName: `${owner.metadata.name}-`,
      namespace: owner.metadata.namespace,
      ...(labels && { labels }),
      ...(annotations && { annotations }),
      ...(finalizers && { finalizers }),
      ownerReferences: [controllerReference(owner)],
    },
    spec: template.spec!,
  };
}

export interface ReplicaFailure {
  reason: 'FailedCreate' | 'FailedDelete';
  message: string;
}

/** The status that the pods justify, and when it will change by time alone (a ready pod becomes available). */
export function computeReplicaSetStatus(
  replicaSet: ReplicaSet,
  owned: readonly Pod[],
  failure: ReplicaFailure | undefined,
  nowMs: number,
): { status: ReplicaSetStatus; recheckAfterMs?: number } {
  const active = owned.filter(isPodActive);
  const full = mapSelector(replicaSet.spec.template?.metadata?.labels);
  const waits = active.map((pod) => msUntilAvailable(pod, replicaSet.spec.minReadySeconds ?? 0, nowMs));
  const conditions = replicaSet.status?.conditions ?? [];
  const status: ReplicaSetStatus = {
    ...replicaSet.status,
    replicas: active.length,
    fullyLabeledReplicas: active.filter((pod) => full.matches(pod.metadata.labels)).length,
    readyReplicas: active.filter(isPodReady).length,
    availableReplicas: waits.filter((wait) => wait === 0).length,
    terminatingReplicas: owned.filter((pod) => pod.metadata.deletionTimestamp && !isPodTerminal(pod)).length,
    observedGeneration: replicaSet.metadata.generation,
    conditions: failure
      ? withCondition(conditions, {
          type: 'ReplicaFailure',
          status: 'True',
          ...failure,
          lastTransitionTime: timestamp(nowMs),
        })
      : withoutCondition(conditions, 'ReplicaFailure'),
  };
  if (status.conditions?.length === 0) delete status.conditions;
  const soonest = Math.min(...(waits.filter((wait) => wait !== undefined && wait > 0) as number[]));
  return Number.isFinite(soonest) ? { status, recheckAfterMs: soonest } : { status };
}
