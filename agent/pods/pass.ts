import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type CrashBackoff, crashKey } from '../containers/crash-backoff.ts';
import { podKey } from '../containers/identity.ts';
import type { LogLinks } from '../containers/log-links.ts';
import type { MountedVolume } from '../containers/mounts.ts';
import type { Images } from '../images/images.ts';
import { findAttachLimit } from '../volumes/csi/attach-limit.ts';
import type { PodDirectories } from '../volumes/pod-directories.ts';
import type { ServiceAccountTokens } from '../volumes/tokens.ts';
import type { Volumes } from '../volumes/volumes.ts';
import { type AdmittanceDependencies, createAdmittance } from './admittance.ts';
import { createDeadlines } from './deadline.ts';
import type { PodExecutor } from './executor.ts';
import { computePodPlan, isPodOver, type PodPlan } from './plan.ts';
import type {
  AgentMetrics,
  ComputePodStatus,
  EventSink,
  PodNetwork,
  ProbeManager,
  ReferencedObjects,
  StatusManager,
} from './ports.ts';
import type { RejectionBackoff } from './rejections.ts';
import type { ResizeActuator } from './resize/actuate.ts';
import type { Resizes } from './resize/resizes.ts';
import type { PodResources } from './resource-ports.ts';
import type { RuntimeCache } from './runtime-cache.ts';
import type { EngineFeatures } from './unsupported.ts';
import { ownGraceSeconds, type PodWork, requestTermination } from './work.ts';

export interface PassOptions {
  /** Asked for when a pod is to be admitted: by then the Engine has answered. */
  engineFeatures(): EngineFeatures;
  /** How many ended runs of a container are left when a later one ends. */
  keptEndedRuns: number;
}

export interface PassDependencies
  extends Pick<AdmittanceDependencies, 'admission' | 'allocations' | 'oneAtATime' | 'rejected' | 'others' | 'works'> {
  runtime: RuntimeCache;
  executor: PodExecutor;
  volumes: Volumes;
  directories: PodDirectories;
  logLinks: LogLinks;
  images: Images;
  config?: ReferencedObjects;
  tokens?: ServiceAccountTokens;
  crashes: CrashBackoff;
  rejections: RejectionBackoff;
  resizes: Resizes;
  actuator: Pick<ResizeActuator, 'ensureCgroup'>;
  network: Pick<PodNetwork, 'status'>;
  resources: PodResources;
  probes: ProbeManager;
  computeStatus: ComputePodStatus;
  status: StatusManager;
  events: EventSink;
  metrics: AgentMetrics;
  clock: Clock;
  log: Logger;
}

/** When to come back, if nothing happens before. undefined: the regular resync. */
export type NextPassMs = number | undefined;

const NETWORK_RETRY_MS = 1_000;
/** The Engine gets half as long again as the grace, and at least this, before an event says that it takes too long. */
const LEAST_TERMINATION_MS = 10_000;
const VOLUME_REFRESH_MS = 45_000;
const ANNOUNCEMENT_PATIENCE_MS = 5_000;
/** After the first look, which tells why; somebody has to do something first. */
const VOLUME_RETRY_MS = 5_000;

/** The passes of a pod's worker, one for each state of its life (sheet §3). */
export function createPasses(options: PassOptions, deps: PassDependencies) {
  const { runtime, executor, probes, status, events, clock, log } = deps;
  const { admit, reject } = createAdmittance({ ...deps, ...options });
  const deadlines = createDeadlines(deps);

  function publish(work: PodWork, isTerminal: boolean): void {
    if (work.isOrphan) return;
    const pod = deps.allocations.allocatedPod(work.pod);
    const observed = runtime.pod(work.uid, pod.metadata.name, pod.metadata.namespace);
    // First, so that what it knows of these very containers is in the status.
    if (!isTerminal) {
      probes.observe(pod, observed);
      deps.resizes.observe(work, pod, observed);
    }
    const previous = status.known(pod);
    status.set(
      pod,
      deps.computeStatus({
        pod,
        runtime: observed,
        waiting: work.waiting,
        previous,
        terminal: isTerminal,
        ...(work.override && { override: work.override }),
        actuated: (container) => deps.allocations.actuated(work.uid, container),
        podActuated: deps.allocations.podActuated(work.uid),
        resize: deps.resizes.conditions(work.uid),
        nowMs: clock.nowMs(),
      }),
    );
  }

  const isTerminalPhase = (phase: string | undefined) => phase === 'Succeeded' || phase === 'Failed';

  function recallCrashes(work: PodWork): void {
    const runs = Map.groupBy(runtime.pod(work.uid).containers, ({ name, hash }) => crashKey(work.uid, name, hash));
    for (const [key, ofOne] of runs) deps.crashes.recall(key, ofOne);
  }

  function plan(work: PodWork): PodPlan {
    recallCrashes(work);
    return computePodPlan({
      pod: deps.allocations.allocatedPod(work.pod),
      runtime: runtime.pod(work.uid),
      keptEndedRuns: options.keptEndedRuns,
      status: status.get(work.uid) ?? work.pod.status,
      nowMs: clock.nowMs(),
      liveness: (id) => probes.liveness(id),
      startup: (id) => probes.startup(id),
      actuated: (container) => deps.allocations.actuated(work.uid, container),
      crashDelay: (name, hash, finishedAtMs) =>
        deps.crashes.delay(crashKey(work.uid, name, hash), finishedAtMs, clock.nowMs()),
    });
  }

  async function ensureVolumes(
    work: PodWork,
    due: boolean,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, MountedVolume>> {
    const { volumesRefreshedMonotonicMs: last } = work;
    if (!due && last !== undefined && clock.monotonicMs() - last < VOLUME_REFRESH_MS) return new Map();
    // Before the work: what changes in the middle of it asks for another pass.
    work.volumesRefreshedMonotonicMs = clock.monotonicMs();
    try {
      await deps.directories.ensure(work.uid);
      return await deps.volumes.ensure(deps.allocations.allocatedPod(work.pod), signal);
    } catch (error) {
      work.volumesRefreshedMonotonicMs = undefined;
      throw error;
    }
  }

  function noteStarted(work: PodWork): void {
    if (work.hasStarted || work.waiting.size > 0) return;
    const observed = runtime.pod(work.uid);
    const isRunning = (wanted: string) =>
      observed.containers.some(({ name, state }) => name === wanted && state === 'running');
    if (!work.pod.spec.containers.every(({ name }) => isRunning(name))) return;
    work.hasStarted = true;
    deps.metrics.podStarted((clock.monotonicMs() - work.firstSeenMonotonicMs) / 1000, work.pod, observed);
  }

  /**
   * Nothing of the pod runs any more, its addresses are still its own: the API hears that it is over before they can
   * become another pod's, else senders that still know them would reach that one. An API server that is away is not waited for long.
   */
  async function announceEnd(work: PodWork, signal: AbortSignal): Promise<void> {
    probes.removePod(work.uid);
    work.waiting = new Map();
    // Whoever hears of it may give its share of the node to another pod at once.
    deps.admission.release(work.uid);
    publish(work, true);
    const patience = new AbortController();
    const cancel = clock.after(ANNOUNCEMENT_PATIENCE_MS, () => patience.abort());
    try {
      await status.landed(work.uid, AbortSignal.any([signal, patience.signal]));
    } catch {
      signal.throwIfAborted();
      log.warn({ pod: podKey(work.pod) }, 'the end of a pod could not be told before its addresses are given back');
    } finally {
      cancel();
    }
  }

  return {
    /**
     * Publishes what is seen of the pod now, beside whatever pass is under way: an image that takes a minute, or a grace period, keeps back
     * neither readiness nor the end of a container.
     */
    show(work: PodWork): void {
      const isEnding = work.state === 'terminating';
      if (!work.isAdmitted || (work.state !== 'syncing' && !isEnding)) return;
      // With the last container the pass is over, and tells the end at once.
      if (isEnding && !runtime.pod(work.uid).containers.some(({ state }) => state === 'running')) return;
      publish(work, false);
    },

    /** SyncPod: brings the pod nearer to running. */
    async sync(work: PodWork, signal: AbortSignal): Promise<NextPassMs> {
      // The API has recorded the end already (this agent may have been restarted since).
      if (isTerminalPhase((status.get(work.uid) ?? work.pod.status)?.phase)) {
        requestTermination(work, ownGraceSeconds(work.pod));
        return 0;
      }
      const heldMs = await admit(work, signal);
      if (heldMs) publish(work, false);
      if (heldMs !== undefined) return heldMs;
      await deps.resizes.consider(work, signal);
      const pod = deps.allocations.allocatedPod(work.pod);
      deps.config?.follow(pod);
      const deadlineMs = deadlines.untilMs(work);
      if (deadlineMs !== undefined && deadlineMs <= 0) {
        deadlines.fail(work);
        return 0;
      }
      const todo = plan(work);
      if (isPodOver(todo)) {
        requestTermination(work, ownGraceSeconds(pod));
        return 0;
      }
      publish(work, false);
      const network = deps.network.status();
      if (todo.createSandbox && !pod.spec.hostNetwork && !network.ready) {
        events.event(pod, 'Warning', 'NetworkNotReady', `network is not ready: ${network.message}`);
        return NETWORK_RETRY_MS;
      }
      let nextMs: NextPassMs;
      // A mount, a pull, a hook may take longer than the pod has: the pass is then cut short.
      const disarm = deadlines.arm(work);
      try {
        const [volumes] = await Promise.all([
          ensureVolumes(work, todo.createSandbox || todo.start.length > 0, signal),
          deps.actuator.ensureCgroup(pod, runtime.pod(work.uid), signal),
        ]);
        signal.throwIfAborted();
        probes.addPod(pod);
        const { waiting, retryAfterMs, resizeError } = await executor.apply(pod, todo, volumes, signal);
        work.waiting = waiting;
        nextMs = retryAfterMs;
        if (resizeError) deps.resizes.failed(work, pod, resizeError);
      } catch (error) {
        const limit = findAttachLimit(error);
        if (!limit) throw error;
        reject(work, { reason: 'VolumeAttachmentLimitExceeded', message: limit.message });
        return 0;
      } finally {
        disarm();
      }
      publish(work, false);
      noteStarted(work);
      const leftMs = deadlines.untilMs(work);
      if (leftMs === undefined) return nextMs;
      return Math.min(Math.max(0, leftMs), nextMs ?? Number.POSITIVE_INFINITY);
    },

    /** SyncTerminatingPod: ends every container. */
    async terminate(work: PodWork, signal: AbortSignal): Promise<NextPassMs> {
      publish(work, false);
      probes.stopLivenessAndStartup(work.uid);
      const graceSeconds = work.graceSeconds ?? ownGraceSeconds(work.pod);
      const limitMs = Math.max(LEAST_TERMINATION_MS, graceSeconds * 1500);
      const message = 'Container runtime did not kill the pod within specified grace period.';
      const disarm = clock.after(limitMs, () => events.event(work.pod, 'Warning', 'ExceededGracePeriod', message));
      try {
        await executor.end(work.pod, graceSeconds, signal, () => announceEnd(work, signal));
      } finally {
        disarm();
      }
      work.state = 'terminated';
      deps.admission.release(work.uid);
      void deps.resizes.retry('pod_terminated');
      publish(work, true);
      return 0;
    },

    /** SyncTerminatedPod: gives back what the node lent. */
    async release(work: PodWork, signal: AbortSignal): Promise<NextPassMs> {
      // Logs of a finished pod are read as long as its object stands; those of a deleted one by nobody.
      const isDeleted = work.pod.metadata.deletionTimestamp !== undefined || work.isGone || work.isOrphan;
      if (isDeleted) await executor.removeContainers(work.uid, signal);
      if (!(await deps.volumes.remove(work.uid, work.isOrphan ? undefined : work.pod))) return VOLUME_RETRY_MS;
      deps.config?.forget(work.uid);
      await deps.resources.removePod(work.uid);
      if (!work.isOrphan) status.finished(work.pod);
      deps.allocations.release(work.uid);
      deps.resizes.forget(work.uid);
      work.state = 'finished';
      log.info({ pod: podKey(work.pod), uid: work.uid }, 'pod finished');
      return work.isGone ? 0 : undefined;
    },

    /** The pod has left its source: nothing of it stays. */
    async forget(work: PodWork, signal: AbortSignal): Promise<void> {
      await executor.removeContainers(work.uid, signal);
      await deps.logLinks.removePod(work.pod);
      deps.images.forget(work.uid);
      deps.tokens?.forget(work.uid);
      deps.crashes.forget(`${work.uid}_`);
    },
  };
}

export type Passes = ReturnType<typeof createPasses>;
