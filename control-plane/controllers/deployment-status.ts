import type { Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { findCondition, withCondition, withoutCondition } from './conditions.ts';
import { rolloutBounds, wantedReplicas } from './deployment-scaling.ts';

/** progressDeadlineSeconds at this value means: no deadline, no Progressing condition. */
const NO_DEADLINE = 2 ** 31 - 1;

export function hasDeadline(deployment: Deployment): boolean {
  const { progressDeadlineSeconds } = deployment.spec;
  return progressDeadlineSeconds !== undefined && progressDeadlineSeconds !== NO_DEADLINE;
}

export function progressing(status: string, reason: string, message: string, nowMs: number): DeploymentCondition {
  return condition('Progressing', status, reason, message, nowMs);
}

function condition(type: string, status: string, reason: string, message: string, nowMs: number): DeploymentCondition {
  return { type, status, lastUpdateTime: timestamp(nowMs), lastTransitionTime: timestamp(nowMs), reason, message };
}

/** Counts and the Available condition; `conditions` are the ones to start from. */
export function countStatus(
  deployment: Deployment,
  current: ReplicaSet | undefined,
  old: readonly ReplicaSet[],
  conditions: readonly DeploymentCondition[],
  nowMs: number,
): DeploymentStatus {
  const all = current ? [...old, current] : old;
  const total = (field: 'replicas' | 'readyReplicas' | 'availableReplicas' | 'terminatingReplicas') =>
    all.reduce((sum, { status }) => sum + (status?.[field] ?? 0), 0);
  const availableReplicas = total('availableReplicas');
  const enough = availableReplicas >= wantedReplicas(deployment) - rolloutBounds(deployment).maxUnavailable;
  const available = enough
    ? condition('Available', 'True', 'MinimumReplicasAvailable', 'Deployment has minimum availability.', nowMs)
    : condition(
        'Available',
        'False',
        'MinimumReplicasUnavailable',
        'Deployment does not have minimum availability.',
        nowMs,
      );
  return {
    ...deployment.status,
    observedGeneration: deployment.metadata.generation,
    replicas: total('replicas'),
    updatedReplicas: current?.status?.replicas ?? 0,
    readyReplicas: total('readyReplicas'),
    availableReplicas,
    unavailableReplicas: Math.max(0, total('replicas') - availableReplicas),
    terminatingReplicas: total('terminatingReplicas'),
    conditions: withCondition(conditions, available),
  };
}

/** Every wanted pod is of the current template and available, and no other is left. */
export function isComplete(deployment: Deployment, status: DeploymentStatus): boolean {
  const wanted = wantedReplicas(deployment);
  return (
    (status.updatedReplicas ?? 0) === wanted &&
    (status.replicas ?? 0) === wanted &&
    (status.availableReplicas ?? 0) === wanted &&
    (status.observedGeneration ?? 0) >= (deployment.metadata.generation ?? 0)
  );
}

/** Adds what a rollout's progress says: the Progressing and ReplicaFailure conditions. */
export function withProgress(
  deployment: Deployment,
  current: ReplicaSet | undefined,
  old: readonly ReplicaSet[],
  counted: DeploymentStatus,
  nowMs: number,
): DeploymentStatus {
  let conditions = counted.conditions ?? [];
  const before = findCondition(conditions, 'Progressing');
  const wasComplete = counted.replicas === counted.updatedReplicas && before?.reason === 'NewReplicaSetAvailable';
  const subject = current ? `ReplicaSet "${current.metadata.name}"` : `Deployment "${deployment.metadata.name}"`;

  if (!hasDeadline(deployment)) conditions = withoutCondition(conditions, 'Progressing');
  else if (!wasComplete) {
    if (isComplete(deployment, counted))
      conditions = withCondition(
        conditions,
        progressing('True', 'NewReplicaSetAvailable', `${subject} has successfully progressed.`, nowMs),
      );
    else if (hasProgressed(deployment.status, counted)) {
      // lastUpdateTime must move with every step, since the deadline counts from it.
      const step = progressing('True', 'ReplicaSetUpdated', `${subject} is progressing.`, nowMs);
      if (before?.status === 'True') step.lastTransitionTime = before.lastTransitionTime;
      conditions = [...withoutCondition(conditions, 'Progressing'), step];
    } else if (hasTimedOut(deployment, before, nowMs))
      conditions = withCondition(
        conditions,
        progressing('False', 'ProgressDeadlineExceeded', `${subject} has timed out progressing.`, nowMs),
      );
  }
  return { ...counted, conditions: withReplicaFailure(conditions, current, old) };
}

function withReplicaFailure(
  conditions: readonly DeploymentCondition[],
  current: ReplicaSet | undefined,
  old: readonly ReplicaSet[],
): DeploymentCondition[] {
  const failures = [...(current ? [current] : []), ...old]
    .map(({ status }) => findCondition(status?.conditions, 'ReplicaFailure'))
    .filter((failure) => failure !== undefined);
  const failure = failures[0];
  if (!failure) return withoutCondition(conditions, 'ReplicaFailure');
  const { status, reason, message, lastTransitionTime } = failure;
  return withCondition(conditions, {
    type: 'ReplicaFailure',
    status,
    lastUpdateTime: lastTransitionTime,
    lastTransitionTime,
    reason,
    message,
  });
}

function hasProgressed(before: DeploymentStatus | undefined, now: DeploymentStatus): boolean {
  const count = (status: DeploymentStatus | undefined, field: 'replicas' | 'updatedReplicas') => status?.[field] ?? 0;
  const oldReplicas = (status: DeploymentStatus | undefined) =>
    count(status, 'replicas') - count(status, 'updatedReplicas');
  return (
    count(now, 'updatedReplicas') > count(before, 'updatedReplicas') ||
    oldReplicas(now) < oldReplicas(before) ||
    (now.readyReplicas ?? 0) > (before?.readyReplicas ?? 0) ||
    (now.availableReplicas ?? 0) > (before?.availableReplicas ?? 0)
  );
}

function hasTimedOut(deployment: Deployment, before: DeploymentCondition | undefined, nowMs: number): boolean {
  if (!before || before.reason === 'NewReplicaSetAvailable') return false;
  if (before.reason === 'ProgressDeadlineExceeded') return true;
  return deadlineMs(deployment, before) <= nowMs;
}

function deadlineMs(deployment: Deployment, before: DeploymentCondition): number {
  return Date.parse(before.lastUpdateTime ?? '') + (deployment.spec.progressDeadlineSeconds ?? 0) * 1000;
}

/** How long to wait before the deadline must be looked at again; undefined when none runs. */
export function msUntilDeadline(deployment: Deployment, status: DeploymentStatus, nowMs: number): number | undefined {
  const before = findCondition(status.conditions, 'Progressing');
  if (!hasDeadline(deployment) || !before || isComplete(deployment, status)) return undefined;
  if (before.reason === 'ProgressDeadlineExceeded' || before.reason === 'DeploymentPaused') return undefined;
  const left = deadlineMs(deployment, before) - nowMs;
  return left > 0 ? left : undefined;
}
