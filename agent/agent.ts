import type { DockerEngine } from '../src/docker/engine.ts';
import { dockerMessage } from '../src/docker/errors.ts';
import { createEventStream } from '../src/docker/events.ts';
import type { Informer } from '../src/kube/informer.ts';
import type { Pod } from '../src/kube/types.ts';
import { retry } from '../src/runtime/backoff.ts';
import type { Clock } from '../src/runtime/clock.ts';
import type { Heartbeats } from '../src/runtime/heartbeat.ts';
import type { Logger } from '../src/runtime/log.ts';
import type { AgentOptions } from './agent-options.ts';
import { buildAgentParts } from './agent-parts.ts';
import type { ContainerDevices } from './containers/device-settings.ts';
import { LABEL, podKey } from './containers/identity.ts';
import type { NodeEvent } from './gc/node-event.ts';
import type { Reclaim } from './gc/reclaim.ts';
import type { ImagePartDependencies } from './images/image-parts.ts';
import type { AdmitHandlers } from './pods/admission-ports.ts';
import { isStaticPod } from './pods/annotations.ts';
import { createPodDirectory } from './pods/directory.ts';
import { buildOrphanPod } from './pods/orphans.ts';
import type {
  AgentMetrics,
  ComputePodStatus,
  EventSink,
  PodDirectory,
  PodNetwork,
  ProbeManager,
  ReferencedObjects,
  ServiceEnvironment,
  StatusManager,
} from './pods/ports.ts';
import { createRelister } from './pods/relister.ts';
import type { ResizingNode } from './pods/resize/decision.ts';
import type { PodResources } from './pods/resource-ports.ts';
import type { PodWorkers } from './pods/workers.ts';
import type { Allocations } from './resources/allocation/allocations.ts';
import type { PodRuntime } from './sandbox/pod-runtime.ts';
import type { MirrorPodKeeper } from './sources/mirror.ts';
import { createDesiredPods } from './sources/source.ts';
import { createSources, type SourcesDependencies } from './sources/sources.ts';
import type { VolumePlugin } from './volumes/plugin.ts';
import type { ServiceAccountTokens } from './volumes/tokens.ts';

export interface AgentDependencies
  extends Pick<ImagePartDependencies, 'registry' | 'serviceAccount'>,
    Pick<SourcesDependencies, 'apiReady' | 'manifestProblems'> {
  docker: DockerEngine;
  network: PodNetwork;
  resources: PodResources;
  probes: ProbeManager;
  status: StatusManager;
  computeStatus: ComputePodStatus;
  /** Who decides on new pods, beside the agent itself. */
  admission: AdmitHandlers;
  /** What was set aside for pods, by an earlier life of this agent too; absent: nothing outlives the process. */
  allocations?: Allocations;
  nodeEvent?: NodeEvent;
  /** What this node has for pods that ask for more while they run; absent: whatever they ask for. */
  resizingNode?(): ResizingNode;
  /** A pod was rejected, for this reason. */
  onRejected?(reason: string): void;
  events: EventSink;
  metrics: AgentMetrics;
  heartbeats?: Heartbeats;
  /** Pods with spec.nodeName of this node. Absent, as the next four, on a node without an API server. */
  podInformer?: Informer<Pod>;
  mirrors?: MirrorPodKeeper;
  config?: ReferencedObjects;
  tokens?: ServiceAccountTokens;
  services?: ServiceEnvironment;
  /** Volumes beyond those that need nothing but this node: claims, CSI, NFS, …. */
  volumePlugins?: readonly VolumePlugin[];
  /** Devices of plugins; absent: containers have none. */
  devices?: ContainerDevices;
  /** An OCI runtime of ours that `docker` uses for pods' containers. */
  podRuntime?: Pick<PodRuntime, 'prepareNetns' | 'stopPreparing'>;
  clock: Clock;
  log: Logger;
}

export interface Agent {
  directory: PodDirectory;
  /** For those who end pods by their own decision: eviction, a shutdown of the node. */
  workers: Pick<PodWorkers, 'condemn' | 'get' | 'list'>;
  /** Every source has spoken: what it knows of pods is all there is. */
  hasSynced(): boolean;
  /** For those who are short of room on the disk. */
  reclaim: Reclaim;
  /** Runs pods (and the status manager, the probes and the mirror pods) until aborted. Leaves the containers as they are. */
  run(signal: AbortSignal): Promise<void>;
}

/** An Engine that gives no events is followed by its list alone. */
const EVENTS_PATIENCE_MS = 5_000;
const ENGINE_RETRY = { initialMs: 200, maxMs: 5_000 };

/** The node agent: sources → workers → plan → executor, with the Engine's events as the trigger and its list as the truth. */
export function createAgent(options: AgentOptions, deps: AgentDependencies): Agent {
  const { docker, clock, log, probes, status } = deps;
  let reopenEvents = () => {};
  const parts = buildAgentParts(options, {
    ...deps,
    onRuntimeChange,
    onUnreadable,
    onMissedEvent: () => reopenEvents(),
    onForgotten: () => showStaticPods(),
  });
  const { runtime, workers } = parts;
  let isSynced = false;

  function onRuntimeChange(uid: string): void {
    if (workers.get(uid)) onChange(uid);
    else if (isSynced) adoptOrphan(uid);
  }

  /** Something about a pod is otherwise: told to the world at once, then acted upon. */
  function onChange(uid: string): void {
    const work = workers.get(uid);
    if (work) parts.show(work);
    workers.poke(uid);
  }

  /** Upstream's event for a pod whose state the runtime does not tell. */
  function onUnreadable(uid: string, _: string, error: unknown): void {
    const work = workers.get(uid);
    if (work && !work.isOrphan)
      deps.events.event(work.pod, 'Warning', 'FailedSync', `error determining status: ${dockerMessage(error)}`);
  }

  function adoptOrphan(uid: string): void {
    const observed = runtime.pod(uid);
    if (observed.sandboxes.length === 0 && observed.containers.length === 0) return;
    log.info(
      { pod: `${observed.namespace}/${observed.name}`, uid },
      'pod of no source found in the runtime: ending it',
    );
    deps.metrics.orphanFound();
    workers.adoptOrphan(buildOrphanPod(observed));
  }

  /** Gives back what belongs to no pod any more. Never before every source has spoken. */
  async function collect(): Promise<void> {
    for (const uid of runtime.uids()) if (!workers.get(uid)) adoptOrphan(uid);
    const uids = new Set([...workers.list().map((work) => work.uid), ...runtime.uids()]);
    status.retain(uids);
    probes.retain(uids);
    parts.admission.retain(uids);
    parts.allocations.retain(uids);
    const steps: [string, Promise<unknown>][] = [
      ['network', deps.network.collect(runtime.sandboxIds())],
      ['cgroups', deps.resources.retain(uids)],
      ['logs', parts.logLinks.collect(uids)],
      ['directories', removeOrphanDirectories(uids)],
    ];
    for (const [what, step] of steps)
      await step.catch((error) => log.warn({ err: error }, `leftover ${what} could not all be removed`));
  }

  async function removeOrphanDirectories(uids: ReadonlySet<string>): Promise<void> {
    for (const uid of await parts.directories.list()) if (!uids.has(uid)) await parts.volumes.remove(uid);
  }

  const desired = createDesiredPods(createSources(options, deps), {
    updated(pod) {
      if (isStaticPod(pod)) endEarlierVersions(pod);
      workers.update(pod);
      deps.status.observe(pod);
      if (isStaticPod(pod)) showStaticPods();
    },
    removed(uid) {
      workers.remove(uid);
      showStaticPods();
    },
    synced() {
      isSynced = true;
      deps.mirrors?.collect();
      collect().catch((error) => log.warn({ err: error }, 'collecting leftovers failed'));
    },
  });

  /** One mirror per name. A static pod that is ending keeps its own, and the name, until nothing of it is left. */
  function showStaticPods(): void {
    const shown = new Map<string, Pod>();
    for (const { pod, isOrphan } of workers.list())
      if (isStaticPod(pod) && !isOrphan && !shown.has(podKey(pod))) shown.set(podKey(pod), pod);
    deps.mirrors?.setStaticPods([...shown.values()]);
  }

  /**
   * A manifest that was changed while no agent ran has left the containers of its earlier version behind. Static pods do not wait until all
   * sources have spoken, and two of a name must not run at once. Only static pods have a UID that is a hash.
   */
  function endEarlierVersions(pod: Pod): void {
    for (const uid of runtime.uids()) {
      if (uid === pod.metadata.uid || workers.get(uid) || !/^[0-9a-f]{32}$/.test(uid)) continue;
      const { namespace, name } = runtime.pod(uid);
      if (`${namespace}/${name}` === podKey(pod)) adoptOrphan(uid);
    }
  }

  return {
    workers,
    hasSynced: () => isSynced,
    reclaim: parts.gc.reclaim,
    directory: createPodDirectory({ workers, runtime, status, allocations: parts.allocations }),

    async run(signal) {
      const stop = new AbortController();
      const own = AbortSignal.any([signal, stop.signal]);
      const onFailure = (error: unknown, retryMs: number) =>
        log.warn({ err: error, retryMs }, 'waiting for the Docker Engine');
      try {
        const info = await retry(() => docker.info(own), { ...ENGINE_RETRY, clock, signal: own, onFailure });
        parts.setEngine(info);
        await parts.images.recover(own);
        const relister = createRelister(options, {
          ...deps,
          runtime,
          onFailure,
          onRelisted: async () => {
            if (isSynced) await collect();
          },
        });
        // Nothing is started before we know what runs already.
        const first = Promise.withResolvers<void>();
        const engineEvents = createEventStream({
          docker,
          labels: [`${LABEL.node}=${options.nodeName}`],
          // Exec probes would fill the stream with theirs.
          actions: ['start', 'die', 'destroy', 'oom'],
          clock,
          log,
          onEvent: runtime.onEvent,
          onOpen() {
            first.resolve();
            relister.request();
          },
        });
        reopenEvents = engineEvents.reopen;
        const following = engineEvents.run(own);
        await Promise.race([first.promise, following, clock.sleep(EVENTS_PATIENCE_MS, own).catch(() => undefined)]);
        await relister.first(own);
        const unsubscribe = [
          probes.onChange(onChange),
          deps.config?.onChange((uid) => workers.refresh(uid)),
          deps.devices?.onChange(onChange),
          deps.mirrors?.onShown((uid) => workers.poke(uid)),
        ];
        try {
          await Promise.all([
            following,
            workers.run(own),
            parts.images.run(own),
            parts.gc.run(own),
            desired.run(own),
            relister.run(own),
            parts.resizes.run(own),
            probes.run(own),
            status.run(own),
            ...(deps.mirrors ? [deps.mirrors.run(own)] : []),
          ]);
        } finally {
          for (const end of unsubscribe) end?.();
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        stop.abort();
      }
    },
  };
}
