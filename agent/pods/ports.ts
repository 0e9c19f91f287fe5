/**
 * What the pod workers need of the rest of the agent and of the node's network. The composition root connects them.
 *
 *     sources ──desired──▶ pod worker ──plan──▶ executor ──▶ DockerEngine, PodNetwork, volumes
 *                             ▲   │
 *          ProbeResults ──────┘   └─▶ ComputePodStatus ─▶ StatusManager ─▶ API
 */
import type { EnvVar, Pod, PodStatus, ResourceRequirements } from '../../src/kube/types.ts';
import type { PodVerdict } from './verdict.ts';

// ---------------------------------------------------------------------------------------------------------------------
// Network (implemented by cni/invoke)

export interface HostPort {
  hostPort: number;
  containerPort: number;
  /** Lower case, as CNI's portMappings capability wants it. */
  protocol: 'tcp' | 'udp' | 'sctp';
  hostIP?: string;
}

/** One pod sandbox to be connected. */
export interface PodAttachment {
  /** Full id of the pause container; the CNI container id. */
  sandboxId: string;
  /** `/proc/<pid>/ns/net` of the pause container. */
  netnsPath: string;
  namespace: string;
  name: string;
  uid: string;
  hostPorts: HostPort[];
  /** The pod's annotations (bandwidth and the like). */
  annotations?: Record<string, string>;
}

export type NetworkStatus = { ready: true } | { ready: false; reason: string; message: string };

/** Connects sandboxes to the pod network. Host-network pods never come here. */
export interface PodNetwork {
  status(): NetworkStatus;
  /** Brings `lo` and `eth0` up in the sandbox. Rolls back what it did when it throws. */
  attach(attachment: PodAttachment, signal: AbortSignal): Promise<{ ips: string[] }>;
  /** Idempotent; the sandbox's process and namespace may be long gone. `findNetns` is asked only where the network wants to know. */
  detach(
    attachment: Omit<PodAttachment, 'netnsPath'> & {
      netnsPath?: string;
      findNetns?(): Promise<string | undefined>;
    },
  ): Promise<void>;
  /** Addresses a sandbox holds, also after a restart of the agent (from the IPAM store); undefined when unknown. */
  ips(sandboxId: string): string[] | undefined;
  /** Releases everything held by sandboxes that are not in the set. */
  collect(liveSandboxIds: Set<string>): Promise<void>;
}

// ---------------------------------------------------------------------------------------------------------------------
// Observed state (made by agent/pods from the Docker Engine)

export interface SandboxStatus {
  id: string;
  /** Counts sandboxes of one pod UID from 0. */
  attempt: number;
  state: 'created' | 'running' | 'exited' | 'unknown';
  createdAtMs: number;
  hostNetwork: boolean;
  /** Empty when the network is not set up (yet), and for host-network pods. */
  ips: string[];
}

export interface ContainerRuntimeStatus {
  /** 64 hex digits, without the `docker://` prefix. */
  id: string;
  name: string;
  state: 'created' | 'running' | 'exited' | 'unknown';
  createdAtMs: number;
  startedAtMs?: number;
  finishedAtMs?: number;
  /** Set when exited (or when the start failed: 127, 128). */
  exitCode?: number;
  oomKilled: boolean;
  /** Image as the spec named it. */
  image: string;
  /** `docker-pullable://repo@sha256:…` or `docker://sha256:…`, as status.imageID shows it. */
  imageId: string;
  /** Attempt number: 0 for the first container of that name in this pod. */
  restartCount: number;
  /** Hash of the parts of the spec whose change restarts the container (name and image). */
  hash: string;
  sandboxId: string;
  /** For exited containers: `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`. */
  reason?: string;
  /** For exited containers: the termination message, or the runtime's error when the start failed. */
  message?: string;
  /** Where Docker's json-file log is, through our symlink. */
  logPath?: string;
  /** It runs, but its postStart hook does too: nobody is to rely on it yet. */
  isStarting?: boolean;
  /** Who its first process was when it was seen running. */
  user?: { uid: number; gid: number; supplementalGroups: number[] };
}

/** All that the runtime knows of one pod. */
export interface PodRuntimeStatus {
  uid: string;
  name: string;
  namespace: string;
  /** Of the newest running sandbox; the node's addresses are filled in by the status computation for hostNetwork. */
  ips: string[];
  /** Newest first. */
  sandboxes: SandboxStatus[];
  /** Newest first; several of the same name are its earlier runs. */
  containers: ContainerRuntimeStatus[];
}

/** Why a container is not running though it should: `CrashLoopBackOff`, `ErrImagePull`, `CreateContainerConfigError`, …. */
export interface WaitingReason {
  reason: string;
  message: string;
}

// ---------------------------------------------------------------------------------------------------------------------
// Status (implemented by agent/status)

export interface PodStatusInput {
  /** The pod as its source gave it (spec, metadata; deletionTimestamp and status from the API for API pods). */
  pod: Pod;
  runtime: PodRuntimeStatus;
  /** By container name (init containers too); what the last sync could not start, and why. */
  waiting: ReadonlyMap<string, WaitingReason>;
  /** What was last published (status manager's cache, else the API's). A terminal phase in it is never left. */
  previous?: PodStatus;
  /** True when the worker has decided that this pod never runs again (SyncTerminatingPod and later): containers still missing count as terminated. */
  terminal: boolean;
  /** The node's own verdict, such as DeadlineExceeded, Evicted or an admission reject. */
  override?: PodVerdict;
  /** What the containers that run have been given, by name, and the pod itself; undefined: what was allocated. */
  actuated?(container: string): ResourceRequirements | undefined;
  podActuated?: ResourceRequirements;
  resize?: ResizeConditions;
  nowMs: number;
}

/** What the status says of a resize. */
export interface ResizeConditions {
  /** Asked for and not allocated. */
  pending?: { reason: 'Deferred' | 'Infeasible'; message: string; generation: number | undefined };
  /** Allocated and not yet what runs. */
  inProgress?: { generation: number | undefined; error?: string };
}

/** Pure: agent/status/compute. Probe results and host IPs are bound in by the composition root. */
export type ComputePodStatus = (input: PodStatusInput) => PodStatus;

export interface StatusManager {
  /** The last status that was set, else undefined. */
  get(uid: string): PodStatus | undefined;
  /** The last status that was set, else the one that the API has from an earlier life of this agent (a static pod's mirror has it). */
  known(pod: Pod): PodStatus | undefined;
  /**
   * Caches and publishes. Never blocks; a terminal phase is never left again. Static pods are published through their
   * mirror pod (uid translated by `MirrorPods`), and only cached when there is no API server.
   */
  set(pod: Pod, status: PodStatus): void;
  /** Resolves when what was set last has reached the API server, or cannot; rejects with the signal's reason. */
  landed(uid: string, signal: AbortSignal): Promise<void>;
  /** The API has this pod in a new version: publishes again what somebody else overwrote (readiness, while the node was out of reach). */
  observe(pod: Pod): void;
  /**
   * The worker has finished: no container, volume, cgroup is left. For an API pod with deletionTimestamp the manager
   * now makes sure the terminal status has landed and then deletes the object (grace 0, UID precondition).
   */
  finished(pod: Pod): void;
  /** Drops the cache of pods that left their source. */
  retain(uids: ReadonlySet<string>): void;
  /** The container's readiness or started state changed by a probe: recompute is asked for through `onChange` of ProbeResults, this is only the publisher. */
  run(signal: AbortSignal): Promise<void>;
}

/** Mirror pods as the API sources know them (implemented by agent/sources). */
export interface MirrorPods {
  /** The mirror of a static pod, when it exists in the API now. */
  of(staticPod: Pod): Pod | undefined;
}

// ---------------------------------------------------------------------------------------------------------------------
// Probes (implemented by agent/probes)

export type ProbeResult = 'success' | 'failure';

export interface ProbeResults {
  /** undefined: no probe or no result yet (counts as success). */
  liveness(containerId: string): ProbeResult | undefined;
  /** undefined: container has no startup probe, or no result yet; see `hasStarted` rules in the spec sheet §12. */
  startup(containerId: string): ProbeResult | undefined;
  /** False until the readiness probe has succeeded; true when there is no probe and the container has started. */
  readiness(containerId: string): ProbeResult | undefined;
  /** Told the pod's UID whenever a published result changed. Returns the unsubscriber. */
  onChange(handler: (uid: string) => void): () => void;
}

export interface ProbeManager extends ProbeResults {
  /** Idempotent: makes the workers this pod's spec wants (again on every sync). */
  addPod(pod: Pod): void;
  /** Newest observation of the pod: the workers find container ids, start times and the pod IP here. */
  observe(pod: Pod, runtime: PodRuntimeStatus): void;
  /** On termination: liveness and startup stop, readiness keeps running so that endpoints drain. */
  stopLivenessAndStartup(uid: string): void;
  removePod(uid: string): void;
  /** Removes the workers of pods that are not in the set. */
  retain(uids: ReadonlySet<string>): void;
  run(signal: AbortSignal): Promise<void>;
}

/** What exec probes and exec hooks run with (implemented in agent/containers over the Docker Engine). */
export interface ContainerExec {
  /** Output is stdout and stderr together, cut at `maxOutputBytes`. Throws `TimeoutError` after `timeoutMs`, if there is one. */
  exec(
    containerId: string,
    command: string[],
    options: { timeoutMs?: number; maxOutputBytes?: number; signal?: AbortSignal },
  ): Promise<{ exitCode: number; output: string }>;
}

// ---------------------------------------------------------------------------------------------------------------------
// What the agent gives to its HTTPS server and its node status (implemented by agent/pods)

export interface PodDirectory {
  /** Desired pods (API and static), as the workers have them, with the newest computed status filled in. */
  list(): Pod[];
  get(namespace: string, name: string): Pod | undefined;
  getByUid(uid: string): Pod | undefined;
  /** Newest observation; undefined before the first. */
  runtime(uid: string): PodRuntimeStatus | undefined;
  /** Age of the last good relist of the runtime; Ready turns False ("PLEG is not healthy") beyond 3 minutes. */
  lastRelistMonotonicMs(): number | undefined;
}

// ---------------------------------------------------------------------------------------------------------------------
// Objects of the API that pods refer to (implemented over the client by agent/volumes; absent in standalone mode)

export interface ConfigSources {
  /** undefined when it does not exist; throws when the API server cannot be asked. */
  configMap(
    namespace: string,
    name: string,
  ): Promise<{ data?: Record<string, string>; binaryData?: Record<string, string> } | undefined>;
  /** Values are base64, as the API has them. */
  secret(
    namespace: string,
    name: string,
  ): Promise<{ type?: string; metadata?: { uid?: string }; data?: Record<string, string> } | undefined>;
}

/** The same for an agent's whole life: what its pods refer to is followed, so that changes reach them at once. */
export interface ReferencedObjects extends ConfigSources {
  /** This node runs the pod (now in this version). Idempotent. */
  follow(pod: Pod): void;
  /** It runs it no longer. */
  forget(uid: string): void;
  /** Told the UIDs of pods that refer to something that has changed, appeared or gone. Returns the unsubscriber. */
  onChange(handler: (uid: string) => void): () => void;
}

/** Environment of the services that a pod sees (§7), when a lister is given. */
export type ServiceEnvironment = (namespace: string, enableServiceLinks: boolean) => EnvVar[];

// ---------------------------------------------------------------------------------------------------------------------

/** What /metrics shows of the workers and the runtime (implemented by agent/stats). Never throws. */
export interface AgentMetrics {
  /** kubelet_pod_worker_duration_seconds: one pass of a pod worker. */
  podWorker(operation: 'create' | 'update' | 'sync' | 'kill', seconds: number): void;
  /** kubelet_pod_start_duration_seconds: from the agent's first sight of the pod to all its containers running; and kubelet_pod_start_{sli,total}_duration_seconds. */
  podStarted(seconds: number, pod: Pod, runtime: PodRuntimeStatus): void;
  /** kubelet_pod_worker_start_duration_seconds: from the first sight of the pod to its worker's first pass. */
  podWorkerStarted(seconds: number): void;
  /** An image was pulled for this pod; monotonic milliseconds. */
  imagePulled(uid: string, startMs: number, endMs: number): void;
  /** kubelet_orphaned_runtime_pods_total: the Engine has a pod that no source knows. */
  orphanFound(): void;
  /** kubelet_restarted_pods_total: the very same pod came back while its earlier life was ending. */
  podRestarted(isStatic: boolean): void;
  /** kubelet_containers_per_pod_count: of a pod that is new. */
  podAdded(containers: number): void;
  /** kubelet_started_containers_total, kubelet_started_containers_errors_total{code}: `container_type` is upstream's. */
  containerStarted(
    type: 'container' | 'init_container' | 'ephemeral_container' | 'podsandbox',
    errorCode?: string,
  ): void;
  /**
   * kubelet_runtime_operations_{total,errors_total,duration_seconds}; operation is upstream's: `run_podsandbox`,
   * `create_container`, `start_container`, `stop_container`, `remove_container`, `list_containers`, `pull_image`, `exec_sync`, ….
   */
  runtimeOperation<T>(operation: string, call: () => Promise<T>): Promise<T>;
  /** kubelet_lifecycle_handler_http_fallbacks_total: a hook asked for HTTPS and its server spoke HTTP. */
  lifecycleHttpFallback(): void;
  /** kubelet_pleg_relist_{duration,interval}_seconds, kubelet_pleg_last_seen_seconds: one look at all containers. */
  relist(call: () => Promise<void>): Promise<void>;
}

/** Events about pods: `fieldPath` is `spec.containers{name}` for container events. Never throws, never blocks. */
export interface EventSink {
  event(object: Pod, type: 'Normal' | 'Warning', reason: string, message: string, fieldPath?: string): void;
}
