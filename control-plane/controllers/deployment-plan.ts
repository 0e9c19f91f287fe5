import type { Deployment, DeploymentCondition, DeploymentStatus, Draft, ReplicaSet } from '../../src/kube/types.ts';
import { findCondition, withCondition } from './conditions.ts';
import { currentAnnotations, nextRevision, REVISION, revisionOf, splitReplicaSets } from './deployment-revisions.ts';
import {
  currentSize,
  isActive,
  isScalingEvent,
  type Scaling,
  scaleProportionally,
  shrinkOld,
  sizeAnnotations,
  wantedReplicas,
} from './deployment-scaling.ts';
import {
  countStatus,
  hasDeadline,
  isComplete,
  msUntilDeadline,
  progressing,
  withProgress,
} from './deployment-status.ts';
import { controllerReference } from './ownership.ts';
import { POD_TEMPLATE_HASH_LABEL, templateHash, withTemplateHash } from './template-hash.ts';

export interface DeploymentPlan {
  /** The ReplicaSet of a template that none has yet. */
  create?: Draft<ReplicaSet>;
  /** ReplicaSets as they should be (size, annotations), each with what it is now. */
  updates: { from: ReplicaSet; to: ReplicaSet }[];
  /** Old, empty ones beyond revisionHistoryLimit. */
  remove: ReplicaSet[];
  /** The revision to write on the Deployment. */
  revision?: string;
  status: DeploymentStatus;
  /** When to look again although nothing happens: the progress deadline. */
  recheckAfterMs?: number;
}

export interface DeploymentFacts {
  deployment: Deployment;
  /** Those that it controls. */
  replicaSets: readonly ReplicaSet[];
  /** True while a pod of an old ReplicaSet may still run; Recreate waits for it. */
  oldPodsRun: boolean;
  nowMs: number;
}

/** One step of a Deployment's life, from what is seen: at most one kind of change at a time, the next look brings the next. */
export function computeDeploymentPlan(facts: DeploymentFacts): DeploymentPlan {
  const { deployment, nowMs } = facts;
  const { current, old } = splitReplicaSets(deployment, facts.replicaSets);
  const plan: DeploymentPlan = { updates: [], remove: [], status: {} };
  const step = deployment.metadata.deletionTimestamp ? 'nothing' : chooseStep(deployment, facts.replicaSets);

  let conditions = pauseConditions(deployment, nowMs);
  if (step !== 'nothing' && current) {
    plan.revision = annotateCurrent(plan, deployment, current, old);
    if (hasDeadline(deployment) && !findCondition(conditions, 'Progressing')) {
      const message = `Found new replica set "${current.metadata.name}"`;
      conditions = withCondition(conditions, progressing('True', 'FoundNewReplicaSet', message, nowMs));
    }
  }
  if (step === 'scale') addScalings(plan, deployment, scaleProportionally(deployment, current, old));
  else if (step === 'roll') rollOut(plan, facts, current, old);

  if (plan.create && hasDeadline(deployment)) {
    const message = `Created new replica set "${plan.create.metadata.name}"`;
    conditions = withCondition(conditions, progressing('True', 'NewReplicaSetCreated', message, nowMs));
  }
  const counted = countStatus(deployment, current, old, conditions, nowMs);
  plan.status = step === 'roll' ? withProgress(deployment, current, old, counted, nowMs) : counted;
  const isIdle = !plan.create && plan.updates.length === 0;
  if (step !== 'nothing' && isIdle && (deployment.spec.paused || isComplete(deployment, plan.status)))
    plan.remove = expiredHistory(deployment, old);
  plan.recheckAfterMs = step === 'roll' ? msUntilDeadline(deployment, plan.status, nowMs) : undefined;
  return plan;
}

function chooseStep(deployment: Deployment, replicaSets: readonly ReplicaSet[]): 'scale' | 'roll' {
  if (deployment.spec.paused) return 'scale';
  // Recreate has no proportions: with several active ReplicaSets only going on with the rollout leads anywhere.
  const isBetween = deployment.spec.strategy?.type === 'Recreate' && replicaSets.filter(isActive).length > 1;
  return !isBetween && isScalingEvent(deployment, replicaSets) ? 'scale' : 'roll';
}

function rollOut(
  plan: DeploymentPlan,
  { deployment, replicaSets, oldPodsRun }: DeploymentFacts,
  current: ReplicaSet | undefined,
  old: readonly ReplicaSet[],
): void {
  if (deployment.spec.strategy?.type === 'Recreate') {
    const shrink = old.filter(isActive).map((replicaSet) => ({ replicaSet, replicas: 0 }));
    addScalings(plan, deployment, shrink);
    if (shrink.length > 0 || oldPodsRun) return;
  }
  const size = currentSize(deployment, replicaSets, current);
  if (!current) {
    plan.create = buildReplicaSet(deployment, size, nextRevision(old));
    plan.revision = plan.create.metadata.annotations?.[REVISION];
  } else if (size !== wantedReplicas(current)) addScalings(plan, deployment, [{ replicaSet: current, replicas: size }]);
  else if (deployment.spec.strategy?.type !== 'Recreate')
    addScalings(plan, deployment, shrinkOld(deployment, current, old));
}

/** The conditions after noting that the Deployment was paused or resumed. */
function pauseConditions(deployment: Deployment, nowMs: number): DeploymentCondition[] {
  const conditions = deployment.status?.conditions ?? [];
  const current = findCondition(conditions, 'Progressing');
  // The deadline's verdict stays: a pause does not undo it.
  if (!hasDeadline(deployment) || current?.reason === 'ProgressDeadlineExceeded') return [...conditions];
  const isNoted = current?.reason === 'DeploymentPaused';
  if (deployment.spec.paused && !isNoted)
    return withCondition(conditions, progressing('Unknown', 'DeploymentPaused', 'Deployment is paused', nowMs));
  if (!deployment.spec.paused && isNoted)
    return withCondition(conditions, progressing('Unknown', 'DeploymentResumed', 'Deployment is resumed', nowMs));
  return [...conditions];
}

/** Plans the current ReplicaSet's annotations and minReadySeconds; returns the revision that the Deployment should show. */
function annotateCurrent(
  plan: DeploymentPlan,
  deployment: Deployment,
  current: ReplicaSet,
  old: readonly ReplicaSet[],
): string | undefined {
  const annotations = currentAnnotations(deployment, current, nextRevision(old));
  changeReplicaSet(plan, current, { annotations, minReadySeconds: deployment.spec.minReadySeconds });
  return annotations[REVISION] === deployment.metadata.annotations?.[REVISION] ? undefined : annotations[REVISION];
}

function addScalings(plan: DeploymentPlan, deployment: Deployment, scalings: readonly Scaling[]): void {
  for (const { replicaSet, replicas } of scalings)
    changeReplicaSet(plan, replicaSet, { replicas, annotations: sizeAnnotations(deployment) });
}

/** Adds a change to the plan unless it changes nothing; several changes of one ReplicaSet become one write. */
function changeReplicaSet(
  plan: DeploymentPlan,
  replicaSet: ReplicaSet,
  change: { replicas?: number; minReadySeconds?: number; annotations?: Record<string, string> },
): void {
  const planned = plan.updates.find(({ from }) => from === replicaSet);
  const base = planned?.to ?? replicaSet;
  const replicas = change.replicas ?? wantedReplicas(base);
  const minReadySeconds = change.minReadySeconds ?? base.spec.minReadySeconds ?? 0;
  const annotations = { ...base.metadata.annotations, ...change.annotations };
  const isSame =
    replicas === wantedReplicas(base) &&
    minReadySeconds === (base.spec.minReadySeconds ?? 0) &&
    Object.entries(annotations).every(([key, value]) => base.metadata.annotations?.[key] === value);
  if (isSame) return;
  const to = {
    ...base,
    metadata: { ...base.metadata, annotations },
    spec: { ...base.spec, replicas, ...(minReadySeconds > 0 && { minReadySeconds }) },
  };
  if (minReadySeconds === 0) delete to.spec.minReadySeconds;
  if (planned) planned.to = to;
  else plan.updates.push({ from: replicaSet, to });
}

function buildReplicaSet(deployment: Deployment, replicas: number, revision: number): Draft<ReplicaSet> {
  const { metadata, spec } = deployment;
  const hash = templateHash(spec.template, deployment.status?.collisionCount);
  const template = withTemplateHash(spec.template, hash);
  return {
    metadata: {
      name: `${metadata.name}-${hash}`,
      namespace: metadata.namespace,
      labels: template.metadata?.labels,
      annotations: { ...currentAnnotations(deployment, undefined, revision), ...sizeAnnotations(deployment) },
      ownerReferences: [controllerReference(deployment)],
    },
    spec: {
      replicas,
      ...(spec.minReadySeconds && { minReadySeconds: spec.minReadySeconds }),
      selector: {
        ...spec.selector,
        matchLabels: { ...spec.selector.matchLabels, [POD_TEMPLATE_HASH_LABEL]: hash },
      },
      template,
    },
  };
}

function expiredHistory(deployment: Deployment, old: readonly ReplicaSet[]): ReplicaSet[] {
  const limit = deployment.spec.revisionHistoryLimit;
  if (limit === undefined) return [];
  const kept = old.filter((replicaSet) => !replicaSet.metadata.deletionTimestamp);
  return kept
    .sort((a, b) => revisionOf(a) - revisionOf(b))
    .slice(0, Math.max(0, kept.length - limit))
    .filter(
      ({ spec, status, metadata }) =>
        spec.replicas === 0 && !status?.replicas && (metadata.generation ?? 0) <= (status?.observedGeneration ?? 0),
    );
}
