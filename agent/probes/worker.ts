import type { Container, Pod, PodStatus } from '../../src/kube/types.ts';
import { createAge } from '../../src/runtime/age.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { restartsAfterExit } from '../containers/restart.ts';
import type { ContainerRuntimeStatus, PodRuntimeStatus, ProbeResult } from '../pods/ports.ts';
import { ProbeError, type ProbeOutcome } from './outcome.ts';
import type { Prober } from './prober.ts';
import type { ResultStore } from './results.ts';
import { fieldPathOf, type ProbeSettings, type ProbeType } from './settings.ts';

/** The newest look at the pod; workers of one pod share it. */
export interface ProbedPod {
  pod: Pod;
  runtime: PodRuntimeStatus | undefined;
  podIp(): string | undefined;
  /** What the API shows of the pod, however long ago it was written. */
  published(): PodStatus | undefined;
}

export interface ProbeReport {
  pod: Pod;
  container: Container;
  type: ProbeType;
  result: 'successful' | 'failed' | 'unknown';
  seconds: number;
}

export interface WorkerDeps {
  prober: Prober;
  results: ResultStore;
  clock: Clock;
  random: () => number;
  /** When the agent started: containers that are older keep what was published of them. */
  agentStartedAtMs: number;
  event(pod: Pod, type: 'Warning', reason: string, message: string, fieldPath: string): void;
  report(report: ProbeReport): void;
  /** The worker has nothing more to do for this pod. */
  ended(): void;
  /** The container has started: its other probes may begin now. */
  startupSucceeded(): void;
}

export interface ProbeWorker {
  settings: ProbeSettings;
  container: Container;
  /** The pod was observed anew: begins with a new container at once, which is what readers of results rely on. */
  observed(): void;
  /** Looks now instead of at the next tick. */
  trigger(): void;
  /** Publishes a last result for the container (if it has one) and ends. */
  end(last?: ProbeResult): void;
}

const TRIES_WITHIN_ONE_TICK = 3;
/**
 * A container that has just started is asked again after these delays before its period begins: the first answer of most
 * programs comes some milliseconds after their start, and a whole period is long to wait for it. Silent tries: they
 * count for no threshold and make no event.
 */
const EAGER_DELAYS_MS = [50, 100, 200, 400, 800];
const NAMES: Record<ProbeType, string> = { startup: 'Startup', liveness: 'Liveness', readiness: 'Readiness' };

/** One probe of one container: a timer, the thresholds, the rules of sheet §12 about when to look and what to publish. */
export function createProbeWorker(
  type: ProbeType,
  first: { settings: ProbeSettings; container: Container },
  seen: ProbedPod,
  deps: WorkerDeps,
): ProbeWorker {
  const { results, clock } = deps;
  const age = createAge(clock);
  let containerId: string | undefined;
  let held = false;
  let lastResult: ProbeResult | undefined;
  let streak = 0;
  let eagerTries = 0;
  let cancel: (() => void) | undefined;
  let busy = false;
  let again = false;
  /** When the period that runs now began. */
  let tickedMs = 0;
  /** Whether the value that is published came from a probe of this container. */
  let isJudged = false;
  let stopped = false;
  /** State of the container at the last observation. */
  let state = '';

  const worker: ProbeWorker = { ...first, observed, trigger, end };

  function recordOf(): ContainerRuntimeStatus | undefined {
    return seen.runtime?.containers.find(({ name }) => name === worker.container.name);
  }

  function observed() {
    const record = recordOf();
    if (stopped || !record) return;
    // A static pod's history is known only when its mirror is.
    if (record.id === containerId && !isJudged && isOlderThanAgent(record)) inherit(record);
    const now = `${record.id} ${record.state} ${record.isStarting ?? false}`;
    if (now === state) return;
    state = now;
    const inherited = record.id !== containerId && adopt(record) && isOlderThanAgent(record);
    // Right after a restart of the agent everything is there at once: spread the first looks over their period.
    if (inherited && !busy) schedule(deps.random() * worker.settings.periodMs);
    else trigger();
  }

  function schedule(delayMs: number) {
    cancel?.();
    cancel = stopped ? undefined : clock.after(delayMs, () => void tick());
  }

  function trigger() {
    if (busy) again = true;
    else schedule(0);
  }

  function end(last?: ProbeResult) {
    if (stopped) return;
    stopped = true;
    cancel?.();
    if (containerId && last) results.publish(type, containerId, last, seen.pod.metadata.uid);
  }

  async function tick() {
    if (busy || stopped) return;
    busy = true;
    again = false;
    tickedMs = clock.monotonicMs();
    try {
      const delayMs = await look();
      if (stopped) return;
      if (delayMs === 'end') {
        end();
        deps.ended();
      } else if (delayMs === 'period')
        schedule(again ? 0 : Math.max(0, tickedMs + worker.settings.periodMs - clock.monotonicMs()));
      else schedule(again ? 0 : delayMs);
    } finally {
      busy = false;
    }
  }

  /** One look; returns when to look again: after that time, or a period after this look began, however long it took. */
  async function look(): Promise<number | 'period' | 'end'> {
    const { pod } = seen;
    const { initialDelayMs } = worker.settings;
    const record = recordOf();
    if (!record) return 'period';
    if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return 'end';
    if (record.id !== containerId) adopt(record);
    if (held) return 'period';
    if (record.state !== 'running' || record.isStarting) return notRunning(record);
    if (pod.metadata.deletionTimestamp && type !== 'readiness') {
      results.publish(type, record.id, 'success', pod.metadata.uid);
      return 'end';
    }
    const ageMs = age(record.startedAtMs ?? record.createdAtMs);
    if (ageMs < initialDelayMs) return initialDelayMs - ageMs;
    const started = !worker.container.startupProbe || results.startup(record.id) === 'success';
    if (started === (type === 'startup')) return 'period';

    const eagerDelayMs = eagerDelay();
    const result = await probe(record.id, eagerDelayMs !== undefined);
    // A result about a container that is gone by now says nothing.
    if (stopped || result === undefined || recordOf()?.id !== record.id) return 'period';
    if (result === 'failure' && eagerDelayMs !== undefined) {
      eagerTries++;
      return eagerDelayMs;
    }
    eagerTries = EAGER_DELAYS_MS.length;
    count(record.id, result);
    return 'period';
  }

  /** A container that this worker has not seen: everything begins anew. */
  function adopt(record: ContainerRuntimeStatus): true {
    if (containerId) results.remove(type, containerId);
    containerId = record.id;
    held = false;
    lastResult = undefined;
    streak = 0;
    isJudged = false;
    // What runs since before the agent did has left its first moments behind.
    eagerTries = isOlderThanAgent(record) ? EAGER_DELAYS_MS.length : 0;
    inherit(record);
    return true;
  }

  /** The value before the first result. */
  function inherit(record: ContainerRuntimeStatus) {
    const before = publishedBefore(record);
    const initial = before ?? (type === 'liveness' ? 'success' : type === 'readiness' ? 'failure' : undefined);
    results.begin(type, record.id, initial);
    if (type === 'startup' && initial === 'success') held = true;
  }

  function isOlderThanAgent(record: ContainerRuntimeStatus): boolean {
    return (record.startedAtMs ?? record.createdAtMs) < deps.agentStartedAtMs;
  }

  /** After a restart of the agent a container keeps the readiness that its clients rely on. */
  function publishedBefore(record: ContainerRuntimeStatus): ProbeResult | undefined {
    if (!isOlderThanAgent(record)) return undefined;
    const { containerStatuses = [], initContainerStatuses = [] } = seen.published() ?? {};
    const status = [...containerStatuses, ...initContainerStatuses].find(
      ({ containerID }) => containerID === `docker://${record.id}`,
    );
    if (type === 'readiness' && status?.ready) return 'success';
    return type === 'startup' && status?.started ? 'success' : undefined;
  }

  function notRunning(record: ContainerRuntimeStatus): 'period' | 'end' {
    if (record.state !== 'exited') return 'period';
    isJudged = true;
    results.publish(type, record.id, 'failure', seen.pod.metadata.uid);
    const again = restartsAfterExit(seen.pod, worker.container, record.exitCode ?? 137);
    return again && !seen.pod.metadata.deletionTimestamp ? 'period' : 'end';
  }

  function eagerDelay(): number | undefined {
    const delayMs = EAGER_DELAYS_MS[eagerTries];
    return type === 'liveness' || delayMs === undefined || delayMs >= worker.settings.periodMs ? undefined : delayMs;
  }

  /** undefined: it could not be told, the result is dropped. */
  async function probe(id: string, silent: boolean): Promise<ProbeResult | undefined> {
    const { pod } = seen;
    const { settings, container } = worker;
    const fieldPath = fieldPathOf(pod, container);
    const startedAtMs = clock.monotonicMs();
    const report = (result: ProbeReport['result']) =>
      deps.report({ pod, container, type, result, seconds: (clock.monotonicMs() - startedAtMs) / 1000 });
    let outcome: ProbeOutcome | undefined;
    let trouble: unknown;
    for (let attempt = 0; !outcome && attempt < TRIES_WITHIN_ONE_TICK; attempt++) {
      try {
        outcome = await deps.prober(settings, { pod, container, containerId: id, podIp: seen.podIp() });
      } catch (error) {
        trouble = error;
      }
    }
    if (!outcome) {
      report('unknown');
      const state = trouble instanceof ProbeError ? trouble.state : 'unknown';
      const message = trouble instanceof Error ? trouble.message : String(trouble);
      if (!stopped && !silent)
        deps.event(
          pod,
          'Warning',
          'Unhealthy',
          `${NAMES[type]} probe errored and resulted in ${state} state: ${message}`,
          fieldPath,
        );
      return undefined;
    }
    const failed = outcome.result === 'failure';
    if (!failed || !silent) report(failed ? 'failed' : 'successful');
    if (stopped) return undefined;
    if (failed && !silent)
      deps.event(pod, 'Warning', 'Unhealthy', `${NAMES[type]} probe failed: ${outcome.output}`, fieldPath);
    if (outcome.result === 'warning')
      deps.event(pod, 'Warning', 'ProbeWarning', `${NAMES[type]} probe warning: ${outcome.output}`, fieldPath);
    return failed ? 'failure' : 'success';
  }

  function count(id: string, result: ProbeResult) {
    streak = result === lastResult ? streak + 1 : 1;
    lastResult = result;
    const { successThreshold, failureThreshold } = worker.settings;
    if (streak < (result === 'success' ? successThreshold : failureThreshold)) return;
    isJudged = true;
    results.publish(type, id, result, seen.pod.metadata.uid);
    if (type === 'startup' || (type === 'liveness' && result === 'failure')) {
      // Nothing more to learn of this container.
      held = true;
      streak = 0;
    }
    if (type === 'startup' && result === 'success') deps.startupSucceeded();
  }

  observed();
  return worker;
}
