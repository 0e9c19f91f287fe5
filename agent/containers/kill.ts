import type { DockerEngine } from '../../src/docker/engine.ts';
import { isDockerNotFound } from '../../src/docker/errors.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { AgentMetrics, EventSink } from '../pods/ports.ts';
import type { LifecycleHooks } from './hooks.ts';
import { podKey } from './identity.ts';
import { createPreStopHooks } from './pre-stop.ts';
import { isSidecar } from './restart.ts';

/** Every container gets at least this long between SIGTERM and SIGKILL, whatever the caller asked for. */
const MINIMUM_GRACE_SECONDS = 2;

export interface KillTarget {
  id: string;
  name: string;
  /** The Killing event's text; `Stopping container <name>` unless said. */
  message?: string;
}

export interface KillDependencies {
  docker: Pick<DockerEngine, 'stopContainer'>;
  hooks: LifecycleHooks;
  events: EventSink;
  metrics: Pick<AgentMetrics, 'runtimeOperation'>;
  clock: Clock;
  log: Logger;
}

export interface ContainerKiller {
  /** Ends one container: preStop, stop signal, grace, SIGKILL. Resolves when it is gone. */
  kill(
    pod: Pod,
    target: KillTarget,
    graceSeconds: number,
    podIp: string | undefined,
    signal: AbortSignal,
  ): Promise<void>;
  /** Ends all containers of a pod at once; sidecars are signalled last, in reverse order (sheet §11). */
  killAll(
    pod: Pod,
    targets: KillTarget[],
    graceSeconds: number,
    podIp: string | undefined,
    signal: AbortSignal,
  ): Promise<void>;
}

/** The event path of a container: `spec.containers{name}`, `spec.initContainers{name}`, `spec.ephemeralContainers{name}`. */
export function containerFieldPath({ spec }: Pod, name: string): string {
  const isIn = (list: readonly { name: string }[] | undefined) => list?.some((container) => container.name === name);
  const list = isIn(spec.initContainers)
    ? 'initContainers'
    : isIn(spec.ephemeralContainers)
      ? 'ephemeralContainers'
      : 'containers';
  return `spec.${list}{${name}}`;
}

/** A container of whatever sort; an ephemeral one has a subset of the fields. */
export function findContainer({ spec }: Pod, name: string): Container | undefined {
  const all: Container[] = [...(spec.initContainers ?? []), ...spec.containers, ...(spec.ephemeralContainers ?? [])];
  return all.find((container) => container.name === name);
}

export function createContainerKiller(deps: KillDependencies): ContainerKiller {
  const { docker, events, clock } = deps;
  const preStop = createPreStopHooks(deps);

  async function killOne(
    pod: Pod,
    target: KillTarget,
    graceSeconds: number,
    podIp: string | undefined,
    signal: AbortSignal,
    turn?: Promise<unknown>,
  ): Promise<void> {
    const fieldPath = containerFieldPath(pod, target.name);
    events.event(pod, 'Normal', 'Killing', target.message ?? `Stopping container ${target.name}`, fieldPath);
    const container = findContainer(pod, target.name);
    let remaining = graceSeconds;
    if (container)
      remaining = await preStop.run({ pod, container, containerId: target.id, podIp, fieldPath }, remaining, signal);
    if (turn) {
      const startedMs = clock.monotonicMs();
      const ended = new AbortController();
      await Promise.race([turn, clock.sleep(remaining * 1000, ended.signal).catch(() => undefined)]);
      ended.abort();
      remaining = Math.max(0, remaining - Math.floor((clock.monotonicMs() - startedMs) / 1000));
    }
    signal.throwIfAborted();
    const stopSeconds = Math.max(MINIMUM_GRACE_SECONDS, remaining);
    try {
      await deps.metrics.runtimeOperation('stop_container', () => docker.stopContainer(target.id, stopSeconds, signal));
    } catch (error) {
      if (!isDockerNotFound(error)) throw error;
    }
    preStop.forget(target.id);
  }

  return {
    kill: (pod, target, graceSeconds, podIp, signal) => killOne(pod, target, graceSeconds, podIp, signal),
    async killAll(pod, targets, graceSeconds, podIp, signal) {
      const sidecarNames = (pod.spec.initContainers ?? []).filter(isSidecar).map(({ name }) => name);
      const order = (target: KillTarget) => sidecarNames.indexOf(target.name);
      const regular = targets.filter((target) => order(target) === -1);
      const sidecars = targets.filter((target) => order(target) !== -1).sort((a, b) => order(b) - order(a));
      const ended = regular.map((target) => killOne(pod, target, graceSeconds, podIp, signal));
      for (const target of sidecars) {
        const turn = Promise.allSettled([...ended]);
        ended.push(killOne(pod, target, graceSeconds, podIp, signal, turn));
      }
      const failures = (await Promise.allSettled(ended)).flatMap((r) => (r.status === 'rejected' ? [r.reason] : []));
      signal.throwIfAborted();
      if (failures.length > 0)
        throw new AggregateError(failures, `stopping containers of ${podKey(pod)}: ${failures.map(String).join('; ')}`);
    },
  };
}
