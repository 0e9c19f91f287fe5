/**
 * What a pass over a pod should do, read off the tables of the kubelet's behaviour row by row, without a line of the
 * agent's own code: the generated tables hold `computePodPlan` to it.
 */
import type { PodPlan } from '../../../../agent/pods/plan.ts';

export type Policy = 'Always' | 'OnFailure' | 'Never';
/** `changed`: runs, from another image than the spec's. The number is the exit code. */
export type Record_ = 'none' | 'created' | 'unknown' | 'running' | 'changed' | 0 | 1 | 42;
export type Probe = 'none' | 'success' | 'failure';

export interface OracleContainer {
  name: string;
  record: Record_;
  policy?: Policy;
  /** Exit codes that restart it, whatever the policy. */
  restartOn?: readonly number[];
  liveness?: Probe;
  /** Set: it has a startup probe, with this result so far. */
  startup?: Probe;
  isInBackoff?: boolean;
}

export interface OraclePod {
  policy: Policy;
  init: OracleContainer[];
  regular: OracleContainer[];
}

/** The outcome in words; the order of kills does not matter, that of starts does. */
export interface Outcome {
  killPod: boolean;
  kill: string[];
  start: string[];
  wait: string[];
}

/** Whether a run that ended so is followed by another: rows are policies, columns exit codes. */
const RUNS_AGAIN: { [policy in Policy]: { [exitCode in 0 | 1 | 42]: boolean } } = {
  Always: { 0: true, 1: true, 42: true },
  OnFailure: { 0: false, 1: true, 42: true },
  Never: { 0: false, 1: false, 42: false },
};

const effective = (pod: OraclePod, container: OracleContainer): Policy => container.policy ?? pod.policy;
const isExit = (record: Record_): record is 0 | 1 | 42 => typeof record === 'number';
const runs = (record: Record_) => record === 'running' || record === 'changed';
const runsAgain = (pod: OraclePod, container: OracleContainer, exitCode: 0 | 1 | 42) =>
  (container.restartOn ?? []).includes(exitCode) || RUNS_AGAIN[effective(pod, container)][exitCode];

interface Step {
  kill: boolean;
  start: boolean;
}
const KEEP: Step = { kill: false, start: false };
const START: Step = { kill: false, start: true };
const KILL: Step = { kill: true, start: false };
const RESTART: Step = { kill: true, start: true };

/** The table "same sandbox, per regular container". */
function regularStep(pod: OraclePod, container: OracleContainer): Step {
  const { record } = container;
  if (record === 'none' || record === 'created') return START;
  if (record === 'unknown') return RESTART;
  if (isExit(record)) return runsAgain(pod, container, record) ? START : KEEP;
  const onProbe = effective(pod, container) === 'Never' ? KILL : RESTART;
  if (record === 'changed') return RESTART;
  if (container.liveness === 'failure') return onProbe;
  return container.startup === 'failure' ? onProbe : KEEP;
}

/** The table of init containers, second column: one that is to run beside the others. */
function sidecarStep({ record, startup, liveness }: OracleContainer): Step & { isStarted: boolean } {
  if (record === 'unknown') return { ...RESTART, isStarted: false };
  if (!runs(record)) return { ...START, isStarted: false };
  if (startup === 'failure') return { ...RESTART, isStarted: false };
  if (startup === 'none') return { ...KEEP, isStarted: false };
  return { ...(record === 'changed' || liveness === 'failure' ? RESTART : KEEP), isStarted: true };
}

type PlainStep = Step & { verdict?: 'done' | 'failed' };

/** The table of init containers, first column. */
function plainStep(pod: OraclePod, container: OracleContainer): PlainStep {
  const { record } = container;
  if (runs(record)) return KEEP;
  if (record === 'created') return START;
  if (record === 0) return { ...KEEP, verdict: 'done' };
  if (record === 'unknown') return effective(pod, container) === 'Never' ? { ...KEEP, verdict: 'failed' } : RESTART;
  // A failed init container is tried again under every policy but Never.
  const again = (container.restartOn ?? []).includes(Number(record)) || effective(pod, container) !== 'Never';
  return again ? START : { ...KEEP, verdict: 'failed' };
}

/** Expected of a pod whose sandbox is as it should be. */
export function expectInSandbox(pod: OraclePod): Outcome {
  const kill = new Set<string>();
  const start = new Set<string>();
  const take = ({ name }: OracleContainer, step: Step) => {
    if (step.kill) kill.add(name);
    if (step.start) start.add(name);
  };
  const { init, regular } = pod;
  const isInitialized = regular.some(({ record }) => record === 'created' || runs(record));
  let isDone = init.length === 0 || isInitialized;
  const current = isInitialized ? init.length : init.findLastIndex(({ record }) => record !== 'none');
  const begin = (index: number) => {
    if (index >= init.length) isDone = true;
    else start.add(init[index]!.name);
  };
  for (const [index, container] of init.entries()) {
    const isSidecar = container.policy === 'Always';
    if (index < current) {
      if (isSidecar) take(container, sidecarStep(container));
    } else if (index === current && isSidecar) {
      const step = sidecarStep(container);
      take(container, step);
      if (step.isStarted) begin(index + 1);
    } else if (index === current) {
      const step = plainStep(pod, container);
      if (step.verdict === 'failed') return { killPod: true, kill: [...kill], start: [], wait: [] };
      take(container, step);
      if (step.verdict === 'done') begin(index + 1);
    }
  }
  if (current === -1 && init.length > 0) begin(0);
  let killPod = false;
  if (isDone) {
    const steps = regular.map((container) => ({ container, step: regularStep(pod, container) }));
    for (const { container, step } of steps) take(container, step);
    killPod = steps.every(({ container, step }) => !step.start && !(runs(container.record) && !step.kill));
  }
  const order = [...init, ...regular].filter(({ name }) => !killPod && start.has(name));
  return { killPod, kill: [...kill], ...holdBack(pod, order) };
}

/** The back-off: only what has ended waits; a plain init container that waits holds up what comes after it. */
function holdBack(pod: OraclePod, order: OracleContainer[]): { start: string[]; wait: string[] } {
  const waits = ({ record, isInBackoff }: OracleContainer) => Boolean(isInBackoff) && isExit(record);
  const isPlainInit = (one: OracleContainer) => pod.init.includes(one) && one.policy !== 'Always';
  const gate = order.findIndex((one) => waits(one) && isPlainInit(one));
  const reached = gate === -1 ? order : order.slice(0, gate + 1);
  const names = (list: OracleContainer[]) => list.map(({ name }) => name);
  return { start: names(reached.filter((one) => !waits(one))), wait: names(reached.filter(waits)) };
}

/**
 * Expected of a pod that needs a new sandbox; undefined: it is over. A pod in which nobody may restart, and which has
 * run, stays ended, also where its old sandbox is not even remembered.
 */
export function expectNewSandbox(pod: OraclePod): { start: string[]; wait: string[] } | undefined {
  const all = [...pod.init, ...pod.regular];
  const hasRun = all.some(({ record }) => record !== 'none' && record !== 'created');
  if (hasRun && pod.regular.every((one) => effective(pod, one) === 'Never')) return undefined;
  const wanted = pod.regular.filter((one) => !(one.record === 0 && effective(pod, one) === 'OnFailure'));
  if (wanted.length === 0) return undefined;
  return holdBack(pod, pod.init.length > 0 ? pod.init.slice(0, 1) : wanted);
}

/** A plan in the same words. */
export function outcomeOf({ killPod, kill, start, wait }: PodPlan): Outcome {
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);
  return { killPod, kill: names(kill), start: names(start), wait: names(wait) };
}
