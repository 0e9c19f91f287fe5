/**
 * What one pass over a pod is to do: pure, from the pod and what was observed (sheet §4; upstream's computePodActions).
 *
 *     pod ─┐
 *     runtime ─┼─▶ computePodPlan ─▶ { kill pod? · kill these · new sandbox? · start these, in this order · wait for these }
 *     probes ──┘
 */
import type { Pod } from '../../src/kube/types.ts';
import { containerHash } from '../containers/hash.ts';
import { restartPolicyOf, shouldStart } from '../containers/restart.ts';
import { planInitContainers } from './init-plan.ts';
import {
  type ContainerKill,
  type ContainerStart,
  type ContainerUpdate,
  isChanged,
  newestOf,
  type PodPlanInput,
  resizeKill,
  startOf,
} from './plan-parts.ts';
import type { PodRuntimeStatus, SandboxStatus } from './ports.ts';
import { computeContainerResize } from './resize/container-resize.ts';
import { restartAllSources } from './restart-all.ts';

export interface ContainerWait {
  name: string;
  /** Wall time when the back-off ends. */
  untilMs: number;
  delayMs: number;
}

export interface PodPlan {
  /** Stop every container and the sandbox (and, with createSandbox, begin anew). */
  killPod: boolean;
  createSandbox: boolean;
  /** Attempt number of the sandbox to be made or in use. */
  sandboxAttempt: number;
  /** The sandbox in use; undefined when one is to be made. */
  sandboxId?: string;
  kill: ContainerKill[];
  /** Running containers that get other resources without a restart. */
  update?: ContainerUpdate[];
  /** In the order of starting: init containers first. A plain init container is the last entry of its pass. */
  start: ContainerStart[];
  /** Would start, but are in crash back-off. */
  wait: ContainerWait[];
  /** Ids of ended containers that no status needs any more. */
  remove: string[];
  /** Set: all init and regular containers go, the sandbox stays; the next pass begins with the first init container. */
  reset?: PodReset;
}

/** The first half of RestartAllContainers. */
export interface PodReset {
  kill: ContainerKill[];
  /** All records but those of the sources. */
  remove: string[];
  /** The ended containers that asked for it; removed when all else is gone. */
  sources: { id: string; name: string; finishedAtMs: number }[];
}

/** Sheet §4.1: whether the pod needs a new sandbox, and which attempt it is. */
export function decideSandbox(
  pod: Pod,
  runtime: PodRuntimeStatus,
): { create: boolean; attempt: number; sandbox?: SandboxStatus } {
  const [newest] = runtime.sandboxes;
  if (!newest) return { create: true, attempt: 0 };
  const renew = { create: true, attempt: newest.attempt + 1 };
  if (runtime.sandboxes.filter((sandbox) => sandbox.state === 'running').length > 1) return renew;
  if (newest.state !== 'running') return renew;
  const hostNetwork = pod.spec.hostNetwork ?? false;
  if (newest.hostNetwork !== hostNetwork) return renew;
  if (!hostNetwork && newest.ips.length === 0) return renew;
  return { create: false, attempt: newest.attempt, sandbox: newest };
}

function planNewSandbox(input: PodPlanInput, attempt: number): PodPlan {
  const { pod, runtime, status } = input;
  const plan: PodPlan = { ...emptyPlan(attempt), killPod: true, createSandbox: true, remove: superseded(input) };
  // Whoever may not restart is not brought back by a lost sandbox either.
  const neverRestarts = pod.spec.containers.every((container) => restartPolicyOf(pod, container) === 'Never');
  if (neverRestarts && runtime.containers.some(({ state }) => state !== 'created'))
    return { ...plan, createSandbox: false };
  const wanted = pod.spec.containers.filter((container) => {
    const record = newestOf(runtime, container.name);
    const succeeded = record?.state === 'exited' && record.exitCode === 0;
    return !(succeeded && restartPolicyOf(pod, container) === 'OnFailure');
  });
  const anyCreated = pod.spec.containers.some((container) => newestOf(runtime, container.name));
  if (wanted.length === 0 && anyCreated) return { ...plan, createSandbox: false };
  const [firstInit] = pod.spec.initContainers ?? [];
  if (firstInit) {
    const initNames = new Set(pod.spec.initContainers!.map(({ name }) => name));
    // The walk over init containers reads their records: those of the lost sandbox must not look like this one's.
    const old = runtime.containers.filter(({ name }) => initNames.has(name)).map(({ id }) => id);
    plan.remove = [...new Set([...plan.remove, ...old])];
    plan.start = [startOf(firstInit, 'init', newestOf(runtime, firstInit.name), status)];
  } else
    plan.start = wanted.map((container) => startOf(container, 'regular', newestOf(runtime, container.name), status));
  return applyBackoff(input, plan);
}

/** Moves the starts that must wait into `wait`. Nothing is planned behind a plain init container, so nobody overtakes it. */
function applyBackoff(input: PodPlanInput, plan: PodPlan): PodPlan {
  const start: ContainerStart[] = [];
  const wait: ContainerWait[] = [];
  for (const one of plan.start) {
    const spec = [...(input.pod.spec.initContainers ?? []), ...input.pod.spec.containers].find(
      ({ name }) => name === one.name,
    )!;
    const delay =
      one.finishedAtMs === undefined ? undefined : input.crashDelay(one.name, containerHash(spec), one.finishedAtMs);
    if (!delay) {
      start.push(one);
      continue;
    }
    wait.push({ name: one.name, ...delay });
  }
  return { ...plan, start, wait };
}

/** Decides about the regular containers of a pod whose init containers are done (sheet §4.2). */
function planRegularContainers(input: PodPlanInput, plan: PodPlan): void {
  const { pod, runtime } = input;
  let kept = 0;
  let started = 0;
  for (const container of pod.spec.containers) {
    const record = newestOf(runtime, container.name);
    if (record?.state !== 'running') {
      if (!shouldStart(pod, container, record)) continue;
      plan.start.push(startOf(container, 'regular', record, input.status));
      started++;
      if (record?.state === 'unknown')
        plan.kill.push({
          id: record.id,
          name: container.name,
          message: 'Container is in "unknown" state, try killing it before restart',
        });
      continue;
    }
    let restart = restartPolicyOf(pod, container) !== 'Never';
    let message: string;
    let probe: ContainerKill['probe'];
    if (isChanged(container, record)) {
      message = `Container ${container.name} definition changed`;
      restart = true;
    } else if (input.liveness(record.id) === 'failure') {
      message = `Container ${container.name} failed liveness probe`;
      probe = 'liveness';
    } else if (input.startup(record.id) === 'failure') {
      message = `Container ${container.name} failed startup probe`;
      probe = 'startup';
    } else {
      const resize = computeContainerResize(container, input.actuated?.(container.name));
      if (resize === 'restart') {
        plan.start.push(startOf(container, 'regular', record, input.status));
        plan.kill.push(resizeKill(record));
        started++;
        continue;
      }
      if (resize === 'update') plan.update = [...(plan.update ?? []), { id: record.id, name: container.name }];
      kept++;
      continue;
    }
    if (restart) {
      message += ', will be restarted';
      plan.start.push(startOf(container, 'regular', record, input.status));
      started++;
    }
    plan.kill.push({ id: record.id, name: container.name, message, ...(probe && { probe }) });
  }
  if (kept === 0 && started === 0) {
    plan.killPod = true;
    // Neither sidecars nor ephemeral containers keep a pod alive.
    plan.start = [];
  }
}

/** Ended runs before the newest ended one (or as many as are kept) of each container, and containers that were made but never started. */
function superseded({ runtime, keptEndedRuns = 1 }: PodPlanInput): string[] {
  const ended = new Map<string, number>();
  const ids: string[] = [];
  for (const { id, name, state } of runtime.containers) {
    if (state === 'created') ids.push(id);
    if (state !== 'exited') continue;
    const newer = ended.get(name) ?? 0;
    if (newer >= keptEndedRuns) ids.push(id);
    ended.set(name, newer + 1);
  }
  return ids;
}

/** Ephemeral containers run once, in whatever sandbox there was then; they neither wait for nor hold up anybody. */
function planEphemeralContainers({ pod, runtime, status }: PodPlanInput): ContainerStart[] {
  if (pod.metadata.deletionTimestamp) return [];
  return (pod.spec.ephemeralContainers ?? []).flatMap((container) => {
    const record = newestOf(runtime, container.name);
    const state = status?.ephemeralContainerStatuses?.find(({ name }) => name === container.name)?.state;
    const hasRun = record ? record.state !== 'created' : Boolean(state?.running ?? state?.terminated);
    return hasRun ? [] : [startOf(container, 'ephemeral', record)];
  });
}

/** RestartAllContainers: everything goes, unless all that asked for it are in back-off; until then the pod goes on as any other. */
function planReset(input: PodPlanInput, plan: PodPlan): PodPlan | undefined {
  const { pod, runtime } = input;
  const asking = restartAllSources(pod, runtime);
  if (asking.length === 0) return undefined;
  const containers = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
  const sources = asking.map(({ id, name, finishedAtMs, createdAtMs }) => ({
    id,
    name,
    finishedAtMs: finishedAtMs ?? createdAtMs,
  }));
  const waits = ({ name, finishedAtMs }: PodReset['sources'][number]) =>
    input.crashDelay(name, containerHash(containers.find((container) => container.name === name)!), finishedAtMs);
  if (sources.every(waits)) return undefined;
  const names = new Set(containers.map(({ name }) => name));
  const records = runtime.containers.filter(({ name, id }) => names.has(name) && !sources.some((one) => one.id === id));
  const kill = records
    .filter(({ state }) => state === 'running' || state === 'unknown')
    .map(({ id, name }) => ({ id, name, message: `Stopping container ${name}` }));
  return { ...plan, reset: { kill, remove: records.map(({ id }) => id), sources } };
}

function emptyPlan(sandboxAttempt: number): PodPlan {
  return { killPod: false, createSandbox: false, sandboxAttempt, kill: [], start: [], wait: [], remove: [] };
}

/** The one decision of the agent about a pod that is to run. A pod that is to end never comes here. */
export function computePodPlan(moving: PodPlanInput): PodPlan {
  const input = { ...moving, crashDelay: askedOnce(moving.crashDelay) };
  const { pod, runtime } = input;
  const { create, attempt, sandbox } = decideSandbox(pod, runtime);
  const empty = { ...emptyPlan(attempt), ...(sandbox && { sandboxId: sandbox.id }) };
  const reset = planReset(input, empty);
  if (reset) return reset;
  if (create) return planNewSandbox(input, attempt);
  const plan: PodPlan = { ...empty, remove: superseded(input), start: planEphemeralContainers(input) };
  const init = planInitContainers(input, sandbox!.id);
  plan.kill.push(...init.kill);
  plan.start.push(...init.start);
  if (init.update.length > 0) plan.update = init.update;
  if (init.failed) return { ...plan, killPod: true, start: [] };
  if (init.initialized) planRegularContainers(input, plan);
  return applyBackoff(input, plan);
}

/** The plan ends the pod for good: nothing runs and nothing will (Succeeded or Failed; sheet §4.2 last line, §4.4). */
export function isPodOver(plan: PodPlan): boolean {
  return plan.killPod && !plan.createSandbox;
}

/** A back-off that ends while a plan is made is over for all of it or for none: else a container that is to restart all of its pod would be restarted alone. */
function askedOnce(crashDelay: PodPlanInput['crashDelay']): PodPlanInput['crashDelay'] {
  const answers = new Map<string, ReturnType<PodPlanInput['crashDelay']>>();
  return (container, hash, finishedAtMs) => {
    const key = `${container} ${hash} ${finishedAtMs}`;
    if (!answers.has(key)) answers.set(key, crashDelay(container, hash, finishedAtMs));
    return answers.get(key);
  };
}
