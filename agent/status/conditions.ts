import type { ContainerStatus, Pod, PodCondition, PodStatus } from '../../src/kube/types.ts';
import { isSidecar } from '../containers/restart.ts';
import type { ResizeConditions } from '../pods/ports.ts';
import { ALL_CONTAINERS_RESTARTING, couldRestartAll } from '../pods/restart-all.ts';
import type { PodVerdict } from '../pods/verdict.ts';
import { hasBegun } from './phase.ts';

/** They are there only while they are true. */
export const RESIZE_CONDITIONS = { pending: 'PodResizePending', inProgress: 'PodResizeInProgress' } as const;

/** Conditions that the agent writes; all others belong to somebody else and are kept. */
const OWNED: ReadonlySet<string> = new Set([
  'PodReadyToStartContainers',
  'Initialized',
  'Ready',
  'ContainersReady',
  'PodScheduled',
  RESIZE_CONDITIONS.pending,
  RESIZE_CONDITIONS.inProgress,
  ALL_CONTAINERS_RESTARTING,
]);

/** Whether the agent may write a condition of this type. */
export function isOwnedCondition(type: string): boolean {
  return OWNED.has(type) || type === 'DisruptionTarget';
}

type Verdict = Pick<PodCondition, 'status' | 'reason' | 'message'>;

export interface ConditionsInput {
  pod: Pod;
  /** What was published before: for the times of the last changes. */
  previous: PodStatus | undefined;
  phase: string;
  regular: readonly ContainerStatus[];
  init: readonly ContainerStatus[];
  /** A sandbox with its network is there. */
  sandboxReady: boolean;
  /** A container has ended that restarts all of the pod, and its record is still there. */
  restartsAll: boolean;
  /** The DisruptionTarget of the node's own verdict. */
  disruption?: PodVerdict['condition'];
  resize?: ResizeConditions | undefined;
  /** RFC 3339 time for conditions that change now. */
  now: string;
}

/** All conditions of a pod, in the order they are published (sheet §13.2). */
export function computeConditions(input: ConditionsInput): PodCondition[] {
  const { pod, previous, now } = input;
  const kept = (pod.status?.conditions ?? []).filter(({ type }) => !OWNED.has(type) && type !== 'DisruptionTarget');
  const containersReady = containersReadyVerdict(input);
  const owned: [string, Verdict][] = [
    [
      'PodReadyToStartContainers',
      input.sandboxReady ? { status: 'True' } : { status: 'False', reason: 'PodSandboxNotReady' },
    ],
    ['Initialized', initializedVerdict(input)],
    ['Ready', readyVerdict(pod, kept, containersReady)],
    ['ContainersReady', containersReady],
    ['PodScheduled', { status: 'True' }],
  ];
  if (couldRestartAll(pod)) owned.push([ALL_CONTAINERS_RESTARTING, restartingVerdict(input)]);
  const before = [...(previous?.conditions ?? []), ...(pod.status?.conditions ?? [])];
  const known = before.find(({ type }) => type === 'DisruptionTarget');
  return [
    ...kept,
    ...(input.disruption ? [written(input.disruption.type, input.disruption)] : known ? [known] : []),
    ...owned.map(([type, verdict]) => written(type, verdict)),
    ...resizeVerdicts(input).map(([type, generation, verdict]) => withGeneration(written(type, verdict), generation)),
  ];

  function written(type: string, verdict: Verdict): PodCondition {
    const old = before.find((condition) => condition.type === type);
    const unchanged = old?.status === verdict.status ? old.lastTransitionTime : undefined;
    const condition: PodCondition = { type, status: verdict.status, lastTransitionTime: unchanged ?? now };
    if (pod.metadata.generation !== undefined) condition.observedGeneration = pod.metadata.generation;
    if (verdict.reason) condition.reason = verdict.reason;
    if (verdict.message) condition.message = verdict.message;
    return condition;
  }
}

/** Only while there is something to tell (upstream's): `observedGeneration` is the one whose resources are meant. */
function resizeVerdicts({ resize }: ConditionsInput): [string, number | undefined, Verdict][] {
  const { pending, inProgress } = resize ?? {};
  const verdicts: [string, number | undefined, Verdict][] = [];
  if (pending)
    verdicts.push([
      RESIZE_CONDITIONS.pending,
      pending.generation,
      { status: 'True', reason: pending.reason, message: pending.message },
    ]);
  if (inProgress) {
    const failure = inProgress.error ? { reason: 'Error', message: inProgress.error } : {};
    verdicts.push([RESIZE_CONDITIONS.inProgress, inProgress.generation, { status: 'True', ...failure }]);
  }
  return verdicts;
}

function withGeneration(condition: PodCondition, generation: number | undefined): PodCondition {
  return generation === undefined ? condition : { ...condition, observedGeneration: generation };
}

function restartingVerdict({ phase, restartsAll }: ConditionsInput): Verdict {
  if (phase === 'Succeeded') return { status: 'False', reason: 'PodCompleted' };
  if (phase === 'Failed') return { status: 'False', reason: 'PodFailed' };
  if (!restartsAll) return { status: 'False' };
  return {
    status: 'True',
    reason: 'RestartAllContainersStarted',
    message: 'container exited with restart policy rule',
  };
}

function initializedVerdict({ pod, phase, regular, init }: ConditionsInput): Verdict {
  const containers = pod.spec.initContainers ?? [];
  const unknown: string[] = [];
  const incomplete: string[] = [];
  for (const container of containers) {
    const status = init.find(({ name }) => name === container.name);
    if (!status) unknown.push(container.name);
    else if (isSidecar(container) ? !status.started : !status.ready) incomplete.push(container.name);
  }
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'True', reason: 'PodCompleted' };
  if (regular.some(hasBegun)) return { status: 'True' };
  return listed('ContainersNotInitialized', 'incomplete', unknown, incomplete);
}

function containersReadyVerdict({ pod, phase, regular, init }: ConditionsInput): Verdict {
  const unknown: string[] = [];
  const unready: string[] = [];
  const count = (name: string, status: ContainerStatus | undefined) => {
    if (!status) unknown.push(name);
    else if (!status.ready) unready.push(name);
  };
  for (const container of pod.spec.initContainers ?? [])
    if (isSidecar(container))
      count(
        container.name,
        init.find(({ name }) => name === container.name),
      );
  for (const container of pod.spec.containers)
    count(
      container.name,
      regular.find(({ name }) => name === container.name),
    );
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'False', reason: 'PodCompleted' };
  // Some may still be ending: a failed pod is never ready.
  if (phase === 'Failed') return { status: 'False', reason: 'PodFailed' };
  return listed('ContainersNotReady', 'unready', unknown, unready);
}

function listed(reason: string, word: string, unknown: string[], others: string[]): Verdict {
  const messages = [];
  if (unknown.length > 0) messages.push(`containers with unknown status: [${unknown.join(' ')}]`);
  if (others.length > 0) messages.push(`containers with ${word} status: [${others.join(' ')}]`);
  return messages.length === 0 ? { status: 'True' } : { status: 'False', reason, message: messages.join(', ') };
}

function readyVerdict(pod: Pod, foreign: readonly PodCondition[], containersReady: Verdict): Verdict {
  if (containersReady.status !== 'True') return containersReady;
  const messages: string[] = [];
  for (const { conditionType } of pod.spec.readinessGates ?? []) {
    const gate = foreign.find(({ type }) => type === conditionType);
    const quoted = JSON.stringify(conditionType);
    if (!gate) messages.push(`corresponding condition of pod readiness gate ${quoted} does not exist.`);
    else if (gate.status !== 'True')
      messages.push(`the status of pod readiness gate ${quoted} is not "True", but ${gate.status}`);
  }
  if (messages.length === 0) return { status: 'True' };
  return { status: 'False', reason: 'ReadinessGatesNotReady', message: messages.join(', ') };
}
