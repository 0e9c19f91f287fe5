import type { DockerEngine } from '../../src/docker/engine.ts';
import { DockerError, dockerMessage, isDockerNotFound } from '../../src/docker/errors.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { ProcessInfo } from '../../src/linux/processes.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { EventSink } from '../pods/ports.ts';
import type { RuntimeCache } from '../pods/runtime-cache.ts';
import { podKey } from './identity.ts';
import { type ContainerKiller, containerFieldPath, type KillTarget } from './kill.ts';

export interface ContainerEndsDependencies {
  docker: Pick<DockerEngine, 'removeContainer'>;
  runtime: Pick<RuntimeCache, 'pod' | 'refresh' | 'recordEnded' | 'recordRemoved'>;
  killer: ContainerKiller;
  /** The living processes of a container by the kernel's word. */
  findProcesses(containerId: string): Promise<ProcessInfo[]>;
  /** Sends SIGKILL; a process that is gone is none of its errors. */
  killProcess(pid: number): void;
  events: EventSink;
  clock: Clock;
  log: Logger;
}

/**
 * Ends containers and knows when they have ended, also where the Engine gives no answer or says that one runs whose process
 * is gone (its shim was lost, its exit never reported): then /proc decides, so that no pod is Terminating for ever. Only
 * an Engine that is not there is waited for: whoever cannot be asked contradicts nobody.
 */
export interface ContainerEnds {
  end(
    pod: Pod,
    target: KillTarget,
    graceSeconds: number,
    podIp: string | undefined,
    signal: AbortSignal,
  ): Promise<void>;
  /** All of a pod; throws when a process of one is left, with the process named. */
  endAll(
    pod: Pod,
    targets: KillTarget[],
    graceSeconds: number,
    podIp: string | undefined,
    signal: AbortSignal,
  ): Promise<void>;
  /** Kills and removes; what the Engine cannot remove though nothing of it runs is left to a later look, nobody waits for it. */
  remove(id: string, signal?: AbortSignal): Promise<void>;
  /** The same for a removal that has failed already. Throws that error when a process of it survives SIGKILL or the Engine is away. */
  leaveBehind(id: string, error: unknown, signal?: AbortSignal): Promise<void>;
}

/** A process that was sent SIGKILL ends within milliseconds, or waits in the kernel. */
const SIGKILL_PATIENCE_MS = 3_000;
const SIGKILL_POLL_MS = 50;

export function createContainerEnds(deps: ContainerEndsDependencies): ContainerEnds {
  const { docker, runtime, killer, events, clock, log } = deps;
  /** When ending a container was first tried: an Engine that refuses at once must not take its grace away. */
  const firstTryMs = new Map<string, number>();

  const isEnded = (uid: string, id: string) => {
    const known = runtime.pod(uid).containers.find((container) => container.id === id);
    return !known || known.state === 'exited';
  };

  async function killLeft(id: string, signal?: AbortSignal): Promise<ProcessInfo[]> {
    const untilMs = clock.monotonicMs() + SIGKILL_PATIENCE_MS;
    for (;;) {
      const left = await deps.findProcesses(id);
      if (left.length === 0 || clock.monotonicMs() > untilMs) return left;
      for (const { pid } of left) deps.killProcess(pid);
      await clock.sleep(SIGKILL_POLL_MS, signal);
    }
  }

  /** After the Engine was told to stop it (with `failure`, if that went wrong): returns when it has ended. */
  async function settle(
    pod: Pod,
    { id, name }: KillTarget,
    graceSeconds: number,
    failure: unknown,
    signal: AbortSignal,
  ): Promise<void> {
    let problem = failure;
    try {
      await runtime.refresh(id, signal);
    } catch (error) {
      signal.throwIfAborted();
      problem ??= error;
    }
    if (isEnded(pod.metadata.uid, id)) return void firstTryMs.delete(id);
    if (!isAnswer(problem)) throw problem;
    const isGraceOver = clock.monotonicMs() - (firstTryMs.get(id) ?? 0) >= graceSeconds * 1000;
    const left = isGraceOver ? await killLeft(id, signal) : await deps.findProcesses(id);
    const engine = problem ? engineWords(problem) : 'it is running';
    if (left.length > 0) {
      const why = `${left.map(describeProcess).join(', ')} of container ${name} ${isGraceOver ? 'survives SIGKILL' : 'still runs'}; the Docker Engine says: ${engine}`;
      events.event(pod, 'Warning', 'FailedKillPod', `error killing pod: ${why}`);
      throw new Error(why, { cause: problem });
    }
    const message = `the kernel has no process of container ${name} any more, though the Docker Engine does not say that it ended (${engine})`;
    log.warn({ pod: podKey(pod), container: name, id, err: problem }, message);
    events.event(pod, 'Warning', 'ContainerStatusUnknown', message, containerFieldPath(pod, name));
    runtime.recordEnded(id, message);
    firstTryMs.delete(id);
  }

  const begin = (targets: KillTarget[]) => {
    for (const { id } of targets) firstTryMs.set(id, firstTryMs.get(id) ?? clock.monotonicMs());
  };

  async function attempt(call: Promise<void>, signal: AbortSignal): Promise<unknown> {
    const failure = await call.then(
      () => undefined,
      (error) => error,
    );
    signal.throwIfAborted();
    return failure;
  }

  async function leaveBehind(id: string, error: unknown, signal?: AbortSignal): Promise<void> {
    if (!isAnswer(error) || (await killLeft(id, signal)).length > 0) throw error;
    log.warn(
      { container: id.slice(0, 12), err: error },
      'a container that has ended could not be removed; left for now',
    );
    runtime.recordEnded(id, 'could not be removed');
  }

  return {
    async end(pod, target, graceSeconds, podIp, signal) {
      begin([target]);
      const failure = await attempt(killer.kill(pod, target, graceSeconds, podIp, signal), signal);
      await settle(pod, target, graceSeconds, failure, signal);
    },
    async endAll(pod, targets, graceSeconds, podIp, signal) {
      begin(targets);
      const failure = await attempt(killer.killAll(pod, targets, graceSeconds, podIp, signal), signal);
      const ends = await Promise.allSettled(
        targets.map((target) => settle(pod, target, graceSeconds, failure, signal)),
      );
      const failures = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
      signal.throwIfAborted();
      if (failures.length === 1) throw failures[0];
      if (failures.length > 1)
        throw new AggregateError(failures, `ending containers of ${podKey(pod)}: ${failures.map(String).join('; ')}`);
    },
    async remove(id, signal) {
      try {
        await docker.removeContainer(id, { force: true }, signal);
      } catch (error) {
        signal?.throwIfAborted();
        if (!isDockerNotFound(error)) return leaveBehind(id, error, signal);
      }
      runtime.recordRemoved(id);
    },
    leaveBehind,
  };
}

/** Whether the Engine is there and has failed at this; silence on one call is an answer, a connection that cannot be had is none. */
function isAnswer(problem: unknown): boolean {
  if (problem instanceof AggregateError) return problem.errors.every(isAnswer);
  return problem === undefined || (problem instanceof DockerError && ['timeout', 'server'].includes(problem.kind));
}

function engineWords(problem: unknown): string {
  return problem instanceof AggregateError ? problem.errors.map(engineWords).join('; ') : dockerMessage(problem);
}

function describeProcess({ pid, command, state, waitsIn }: ProcessInfo): string {
  const where = state === 'D' ? `, which waits in the kernel${waitsIn && ` (${waitsIn})`}` : '';
  return `process ${pid} (${command})${where}`;
}
