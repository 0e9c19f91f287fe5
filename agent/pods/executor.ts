import { dockerMessage } from '../../src/docker/errors.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type CrashBackoff, crashKey } from '../containers/crash-backoff.ts';
import type { ContainerEnds } from '../containers/ends.ts';
import { needsAddress } from '../containers/environment.ts';
import { ContainerStartError, isImageReason } from '../containers/errors.ts';
import { containerHash } from '../containers/hash.ts';
import { podDescription, podKey, SANDBOX_CONTAINER_NAME } from '../containers/identity.ts';
import { containerFieldPath, findContainer } from '../containers/kill.ts';
import type { ContainerLauncher, CreateRequest } from '../containers/launcher.ts';
import type { MountedVolume } from '../containers/mounts.ts';
import { isSidecar } from '../containers/restart.ts';
import type { PodFilesWriter } from '../sandbox/pod-files.ts';
import type { Sandboxes } from '../sandbox/sandbox.ts';
import { formatGoSeconds } from './durations.ts';
import type { PodPlan, PodReset } from './plan.ts';
import type { ContainerKill, ContainerStart } from './plan-parts.ts';
import type { AgentMetrics, EventSink, PodRuntimeStatus, SandboxStatus, WaitingReason } from './ports.ts';
import type { ResizeActuator } from './resize/actuate.ts';
import type { RuntimeCache } from './runtime-cache.ts';

export interface ExecutorDependencies {
  runtime: RuntimeCache;
  sandboxes: Sandboxes;
  launcher: ContainerLauncher;
  ends: ContainerEnds;
  crashes: CrashBackoff;
  podFiles: PodFilesWriter;
  actuator: ResizeActuator;
  events: EventSink;
  metrics: Pick<AgentMetrics, 'containerStarted'>;
  clock: Clock;
  log: Logger;
}

export interface ApplyResult {
  /** By container name: what does not run though it should. */
  waiting: Map<string, WaitingReason>;
  /** When the next pass can achieve more; undefined: when something happens. */
  retryAfterMs: number | undefined;
  /** Why not all that runs has the resources that were allocated to it. */
  resizeError?: string;
}

/** Carries plans out; decides nothing (DESIGN §3.2). Throws when the sandbox cannot be had; the pass is then tried again. */
export interface PodExecutor {
  apply(
    pod: Pod,
    plan: PodPlan,
    volumes: ReadonlyMap<string, MountedVolume>,
    signal: AbortSignal,
  ): Promise<ApplyResult>;
  /** Ends all containers of the pod and removes its sandboxes; `beforeRelease` runs when nothing of it runs any more and its addresses are still its own. */
  end(pod: Pod, graceSeconds: number, signal: AbortSignal, beforeRelease?: () => Promise<void>): Promise<void>;
  /** Removes what has ended. */
  removeContainers(uid: string, signal: AbortSignal): Promise<void>;
}

/** What a container is doing between create and start; settled so that a failure of one never becomes an unhandled rejection. */
type Prepared = Promise<{ ok: true; id: string } | { ok: false; error: unknown }>;

export function createPodExecutor(deps: ExecutorDependencies): PodExecutor {
  const { runtime, sandboxes, launcher, ends, events, clock, log } = deps;
  const podGraceSeconds = (pod: Pod) => pod.spec.terminationGracePeriodSeconds ?? 30;

  async function end(
    pod: Pod,
    graceSeconds: number,
    signal: AbortSignal,
    beforeRelease?: () => Promise<void>,
  ): Promise<void> {
    const observed = runtime.pod(pod.metadata.uid);
    const alive = observed.containers.filter(({ state }) => state === 'running' || state === 'unknown');
    if (alive.length > 0) await ends.endAll(pod, alive, graceSeconds, observed.ips[0], signal);
    // Whoever sends to the pod's addresses must know that it is over before somebody else gets them.
    await beforeRelease?.();
    for (const sandbox of observed.sandboxes) await removeSandbox(pod, sandbox, signal);
  }

  async function removeSandbox(pod: Pod, sandbox: Pick<SandboxStatus, 'id' | 'hostNetwork'>, signal?: AbortSignal) {
    try {
      await sandboxes.remove(pod, sandbox, signal);
      runtime.recordRemoved(sandbox.id);
    } catch (error) {
      signal?.throwIfAborted();
      await ends.leaveBehind(sandbox.id, error, signal);
    }
  }

  async function killSome(pod: Pod, kills: ContainerKill[], observed: PodRuntimeStatus, signal: AbortSignal) {
    await Promise.all(
      kills.map(async (kill) => {
        const spec = findContainer(pod, kill.name);
        const probe = kill.probe === 'liveness' ? spec?.livenessProbe : spec?.startupProbe;
        const own = kill.probe ? probe?.terminationGracePeriodSeconds : undefined;
        await ends.end(pod, kill, own ?? podGraceSeconds(pod), observed.ips[0], signal);
      }),
    );
  }

  function prepare(request: CreateRequest, signal: AbortSignal): Prepared {
    const { pod, container, start } = request;
    if (start.finishedAtMs !== undefined)
      deps.crashes.restarted(crashKey(pod.metadata.uid, container.name, containerHash(container)), start.finishedAtMs);
    return launcher.create(request, signal).then(
      (id) => ({ ok: true, id }) as const,
      (error) => ({ ok: false, error }) as const,
    );
  }

  /** Makes and connects the sandbox; meanwhile creates the containers that do not need the pod's address. */
  async function startSandbox(
    pod: Pod,
    plan: PodPlan,
    early: { container: Container; start: ContainerStart }[],
    volumes: ReadonlyMap<string, MountedVolume>,
    signal: AbortSignal,
  ): Promise<{ id: string; ips: string[]; prepared: Map<string, Prepared> }> {
    const { uid, name: podName, namespace: podNamespace = 'default' } = pod.metadata;
    const attempt = plan.sandboxAttempt;
    const hostNetwork = pod.spec.hostNetwork ?? false;
    const prepared = new Map<string, Prepared>();
    let id: string | undefined;
    try {
      id = await sandboxes.create(pod, attempt, deps.podFiles.hostname(pod).kernelHostname, signal);
      runtime.recordSandbox(
        { container: SANDBOX_CONTAINER_NAME, podName, podNamespace, podUid: uid, attempt },
        { id, attempt, state: 'created', createdAtMs: clock.nowMs(), hostNetwork, ips: [] },
      );
      for (const one of early)
        prepared.set(one.container.name, prepare({ pod, ...one, sandboxId: id, podIps: [], volumes }, signal));
      const ips = await sandboxes.start(pod, id, signal);
      runtime.recordSandboxStarted(id, ips);
      if (ips.length > 0) await deps.podFiles.writeHosts(pod, ips);
      return { id, ips, prepared };
    } catch (error) {
      await undoSandbox(pod, id, hostNetwork, [...prepared.values()]);
      signal.throwIfAborted();
      deps.metrics.containerStarted('podsandbox', 'CreatePodSandboxError');
      const message = `Failed to create pod sandbox: ${dockerMessage(error)}`;
      events.event(pod, 'Warning', 'FailedCreatePodSandBox', message);
      throw new Error(message, { cause: error });
    }
  }

  /** Takes back what a failed start has made. Its own failures are only logged: the next pass sees what is left. */
  async function undoSandbox(pod: Pod, id: string | undefined, hostNetwork: boolean, prepared: Prepared[]) {
    try {
      for (const made of await Promise.all(prepared)) if (made.ok) await ends.remove(made.id);
      if (!id) return;
      await removeSandbox(pod, { id, hostNetwork });
    } catch (error) {
      log.warn({ pod: podKey(pod), err: error }, 'a failed sandbox could not be removed whole');
    }
  }

  /** @returns false when nothing behind it may start. */
  async function startOne(request: CreateRequest, made: Prepared, result: ApplyResult, signal: AbortSignal) {
    const { pod, container, start } = request;
    try {
      const outcome = await made;
      if (!outcome.ok) throw outcome.error;
      await launcher.start(request, outcome.id, signal);
      // A running sidecar lets the next init container start; nobody else will tell.
      if (start.kind === 'init' && isSidecar(container)) retryIn(result, 0);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      const failure =
        error instanceof ContainerStartError
          ? error
          : new ContainerStartError('CreateContainerConfigError', dockerMessage(error), { cause: error });
      log.info(
        { pod: podKey(pod), container: container.name, reason: failure.reason, err: error },
        'container not started',
      );
      result.waiting.set(container.name, { reason: failure.reason, message: failure.message });
      retryIn(result, failure.retryAfterMs ?? START_RETRY_MS);
      const text = isImageReason(failure.reason) ? failure.reason : failure.message;
      events.event(pod, 'Warning', 'Failed', `Error: ${text}`, containerFieldPath(pod, container.name));
      return start.kind !== 'init' || isSidecar(container);
    }
  }

  function noteWaits(pod: Pod, plan: PodPlan, result: ApplyResult): void {
    for (const { name, delayMs, untilMs } of plan.wait) {
      const message = `back-off ${formatGoSeconds(delayMs)} restarting failed container=${name} pod=${podDescription(pod)}`;
      result.waiting.set(name, { reason: 'CrashLoopBackOff', message });
      retryIn(result, untilMs - clock.nowMs());
      const text = `Back-off restarting failed container ${name} in pod ${podDescription(pod)}`;
      events.event(pod, 'Warning', 'BackOff', text, containerFieldPath(pod, name));
    }
  }

  async function resize(pod: Pod, plan: PodPlan, result: ApplyResult, signal: AbortSignal): Promise<void> {
    try {
      await deps.actuator.actuate(pod, plan.update ?? [], runtime.pod(pod.metadata.uid), signal);
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ pod: podKey(pod), err: error }, 'a resize could not be carried out, will be tried again');
      result.resizeError = error instanceof Error ? error.message : String(error);
      retryIn(result, RESIZE_RETRY_MS);
    }
  }

  /**
   * RestartAllContainers, first half: all init and regular containers go and the sandbox stays. The ended ones that
   * asked for it go last, so that an agent that dies in between goes on here.
   */
  async function reset(pod: Pod, { kill, remove, sources }: PodReset, podIp: string | undefined, signal: AbortSignal) {
    log.info({ pod: podKey(pod), containers: sources.map(({ name }) => name) }, 'restarting all containers of the pod');
    await ends.endAll(pod, kill, RESET_GRACE_SECONDS, podIp, signal);
    await Promise.all(remove.map((id) => ends.remove(id, signal)));
    for (const { id, name, finishedAtMs } of sources) {
      deps.crashes.restarted(crashKey(pod.metadata.uid, name, containerHash(findContainer(pod, name)!)), finishedAtMs);
      await ends.remove(id, signal);
    }
  }

  return {
    async apply(pod, plan, volumes, signal) {
      const result: ApplyResult = { waiting: new Map(), retryAfterMs: undefined };
      const observed = runtime.pod(pod.metadata.uid);
      if (plan.reset) {
        await reset(pod, plan.reset, observed.ips[0], signal);
        return { ...result, retryAfterMs: 0 };
      }
      if (plan.killPod) {
        if (plan.createSandbox && observed.sandboxes.length > 0)
          events.event(pod, 'Normal', 'SandboxChanged', 'Pod sandbox changed, it will be killed and re-created.');
        await end(pod, podGraceSeconds(pod), signal);
      } else await killSome(pod, plan.kill, observed, signal);
      await Promise.all(plan.remove.map((id) => ends.remove(id, signal)));
      noteWaits(pod, plan, result);
      await resize(pod, plan, result, signal);
      if (plan.start.length === 0 && !plan.createSandbox) return result;

      const wanted = plan.start.map((start) => ({ start, container: findContainer(pod, start.name)! }));
      let sandboxId = plan.sandboxId;
      let podIps = observed.ips;
      let prepared = new Map<string, Prepared>();
      await deps.podFiles.ensure(pod, plan.createSandbox ? [] : podIps, { announce: plan.createSandbox });
      if (plan.createSandbox) {
        const early = wanted.filter(({ container }) => !needsAddress(container));
        ({ id: sandboxId, ips: podIps, prepared } = await startSandbox(pod, plan, early, volumes, signal));
      }
      const requests = wanted.map((one) => ({ pod, ...one, sandboxId: sandboxId!, podIps, volumes }));
      for (const request of requests)
        if (!prepared.has(request.container.name)) prepared.set(request.container.name, prepare(request, signal));
      try {
        for (const request of requests)
          if (!(await startOne(request, prepared.get(request.container.name)!, result, signal))) break;
      } finally {
        // Nothing of this pass may still be at work when the next one looks.
        await Promise.all(prepared.values());
      }
      // They come when their targets are there.
      if (plan.createSandbox && pod.spec.ephemeralContainers?.length) retryIn(result, 0);
      return result;
    },

    end,

    async removeContainers(uid, signal) {
      await Promise.all(runtime.pod(uid).containers.map(({ id }) => ends.remove(id, signal)));
    },
  };
}

/** A reset does not wait for a graceful end: preStop hooks and SIGTERM get what every container gets at least. */
const RESET_GRACE_SECONDS = 2;
/** After a start that failed without saying when to try again; upstream waits 10 s for the next sync. */
const START_RETRY_MS = 10_000;
/** As long upstream waits after a sync that failed. */
const RESIZE_RETRY_MS = 10_000;

function retryIn(result: ApplyResult, ms: number): void {
  result.retryAfterMs = Math.min(result.retryAfterMs ?? Number.POSITIVE_INFINITY, Math.max(0, ms));
}
