/**
 * The Docker Engine as the rest of Berth sees it: API ≥ 1.41 (Engine 20.10), results parsed into typed values.
 * Requests keep the Engine's own field names (what one reads in its API reference is what one writes here).
 */

/** `HostConfig`, the fields that we set. */
export interface HostConfig {
  NetworkMode?: string;
  IpcMode?: string;
  PidMode?: string;
  UTSMode?: string;
  /** One of the Engine's OCI runtimes; its default without. */
  Runtime?: string;
  CgroupParent?: string;
  CpuShares?: number;
  /** Microseconds per period. */
  CpuQuota?: number;
  /** Microseconds. */
  CpuPeriod?: number;
  CpusetCpus?: string;
  CpusetMems?: string;
  /** Bytes. */
  Memory?: number;
  /** Bytes of memory and swap together; equal to Memory means no swap. */
  MemorySwap?: number;
  PidsLimit?: number;
  OomScoreAdj?: number;
  /** Bytes. */
  ShmSize?: number;
  RestartPolicy?: { Name: 'no' };
  Privileged?: boolean;
  ReadonlyRootfs?: boolean;
  CapAdd?: string[];
  CapDrop?: string[];
  GroupAdd?: string[];
  SecurityOpt?: string[];
  MaskedPaths?: string[];
  ReadonlyPaths?: string[];
  Sysctls?: Record<string, string>;
  Mounts?: BindMount[];
  Devices?: { PathOnHost: string; PathInContainer: string; CgroupPermissions: string }[];
  /** `cdi`: fully qualified names of CDI devices; Engines before 25, or without the feature, refuse it. */
  DeviceRequests?: { Driver: 'cdi'; DeviceIDs: string[] }[];
  /** For the OCI runtime; since API 1.43, older ones pass over it. */
  Annotations?: Record<string, string>;
  LogConfig?: { Type: string; Config: Record<string, string> };
}

export interface BindMount {
  Type: 'bind';
  Source: string;
  Target: string;
  ReadOnly?: boolean;
  BindOptions?: {
    /** Absent: rprivate, but rslave where the Engine's own root is below the source; it refuses anything else there. */
    Propagation?: 'rslave' | 'rshared';
    /** Since API 1.44; older Engines know no other way and pass over it. */
    ReadOnlyNonRecursive?: boolean;
  };
}

/** The body of `POST /containers/create`. */
export interface ContainerConfig {
  Image: string;
  Entrypoint?: string[];
  Cmd?: string[];
  Env?: string[];
  WorkingDir?: string;
  User?: string;
  Hostname?: string;
  Labels?: Record<string, string>;
  OpenStdin?: boolean;
  StdinOnce?: boolean;
  Tty?: boolean;
  StopSignal?: string;
  Healthcheck?: { Test: ['NONE'] };
  HostConfig?: HostConfig;
}

export type ContainerState = 'created' | 'running' | 'exited' | 'unknown';

/** A row of the container list: one round trip for all of them, without sizes. */
export interface ContainerSummary {
  id: string;
  /** Without the leading slash. */
  name: string;
  image: string;
  imageId: string;
  labels: Record<string, string>;
  state: ContainerState;
  createdAtMs: number;
  networkMode: string;
}

export interface ContainerDetail {
  id: string;
  name: string;
  image: string;
  imageId: string;
  labels: Record<string, string>;
  /** A container whose start failed is `exited`, with its exit code (127, 128) and `error`. */
  state: ContainerState;
  pid: number | undefined;
  createdAtMs: number;
  startedAtMs: number | undefined;
  finishedAtMs: number | undefined;
  exitCode: number | undefined;
  oomKilled: boolean;
  error: string;
  mounts: { source: string; destination: string }[];
  /** Its log is one unframed stream. */
  tty: boolean;
  logPath: string;
  networkMode: string;
  /** Its memory limit; 0: none. */
  memoryBytes: number;
}

export interface ImageDetail {
  /** `sha256:…` */
  id: string;
  repoTags: string[];
  repoDigests: string[];
  sizeBytes: number;
  /** `uid[:gid]`, a name, or empty for root. */
  user: string;
  /** Empty: `/`. */
  workingDir: string;
  stopSignal: string | undefined;
  entrypoint: string[];
  command: string[];
  /** Where the overlay2 driver keeps the image's layers on the Engine's host, topmost first; absent with other storage. */
  layerDirectories?: string[];
}

export interface ImageSummary {
  id: string;
  repoTags: string[];
  repoDigests: string[];
  sizeBytes: number;
  createdAtMs: number;
}

export interface EngineInfo {
  name: string;
  serverVersion: string;
  cgroupDriver: 'cgroupfs' | 'systemd' | 'none';
  cgroupVersion: '1' | '2';
  dockerRootDir: string;
  securityOptions: string[];
  loggingDriver: string;
  /** Names of the OCI runtimes that a container may ask for. */
  runtimes: string[];
  defaultRuntime: string;
  storageDriver: string;
  /** Containers outlive dockerd. */
  liveRestore: boolean;
  /** Where it looks for CDI devices; empty: it knows nothing of them. */
  cdiSpecDirs: string[];
}

export interface EngineVersion {
  version: string;
  apiVersion: string;
  minApiVersion: string;
  /** Versions of the Engine's parts by their names: `containerd`, `runc`, …; empty where it doesn't say. */
  components: Record<string, string>;
}

/** An event about a container. */
export interface ContainerEvent {
  /** `create`, `start`, `die`, `oom`, `destroy`, …; exec events come as `exec_start`, … */
  action: string;
  id: string;
  /** The container's labels, its `name`, `image`, and `exitCode` of a `die`. */
  attributes: Record<string, string>;
  timeNano: bigint;
}

export interface LogChunk {
  stream: 'stdout' | 'stderr';
  data: Buffer;
}

export interface LogOptions {
  follow?: boolean;
  stdout?: boolean;
  stderr?: boolean;
  /** Only lines younger than this; milliseconds since the epoch. */
  sinceMs?: number;
  /** The newest n lines. */
  tail?: number;
  /** Each line begins with its RFC 3339 time with nanoseconds. */
  timestamps?: boolean;
  /** The container has a terminal: its log is one unframed stream. */
  tty?: boolean;
}

export interface ExecResult {
  exitCode: number;
  /** stdout and stderr in arrival order, cut at `maxOutputBytes`. */
  output: Buffer;
}

export interface RegistryAuth {
  username?: string;
  password?: string;
  serveraddress?: string;
  identitytoken?: string;
  registrytoken?: string;
}

/** A line of a pull's progress: of one layer (`layer` is its short id), or of the whole image. */
export interface PullProgress {
  layer: string | undefined;
  /** `Pulling fs layer`, `Downloading`, `Extracting`, `Pull complete`, …: the Engine's own words. */
  status: string;
  /** Bytes done and to do of this layer in this state, where the Engine tells. */
  current: number | undefined;
  total: number | undefined;
}

export interface PullOptions {
  auth?: RegistryAuth;
  onProgress?(progress: PullProgress): void;
}

/** The Engine calls that we use. Every failure is a DockerError; times are milliseconds since the epoch. */
export interface DockerEngine {
  info(signal?: AbortSignal): Promise<EngineInfo>;
  version(signal?: AbortSignal): Promise<EngineVersion>;
  /** Whether it answers at all. `version` and `info` start processes in the Engine (`runc --version` and the like): not for every few seconds. */
  ping(signal?: AbortSignal): Promise<void>;

  /** `conflict` when the name is taken, `notFound` when the image is missing. */
  createContainer(name: string, config: ContainerConfig, signal?: AbortSignal): Promise<{ id: string }>;
  /** Starting a running container is not an error. */
  startContainer(id: string, signal?: AbortSignal): Promise<void>;
  /** Sends the stop signal, SIGKILL after the grace; resolves when it has exited. Stopping a stopped container is not an error. */
  stopContainer(id: string, graceSeconds: number, signal?: AbortSignal): Promise<void>;
  /** `conflict` when it is not running. */
  killContainer(id: string, signalName: string, signal?: AbortSignal): Promise<void>;
  /** With its anonymous volumes. `force` kills it first. */
  removeContainer(id: string, options?: { force?: boolean }, signal?: AbortSignal): Promise<void>;
  inspectContainer(id: string, signal?: AbortSignal): Promise<ContainerDetail>;
  /** All states; `labels` as `key` or `key=value`. */
  listContainers(options: { labels?: string[] }, signal?: AbortSignal): Promise<ContainerSummary[]>;
  /** The container's file system as a tar archive. */
  exportContainer(id: string, signal?: AbortSignal): AsyncIterable<Buffer>;
  updateContainer(id: string, resources: Partial<HostConfig>, signal?: AbortSignal): Promise<void>;
  /** Resolves when the container is not running (any more). */
  waitContainer(id: string, signal?: AbortSignal): Promise<{ exitCode: number }>;
  /** Ends when the log ends, or with `follow` when the container does. */
  containerLogs(id: string, options: LogOptions, signal?: AbortSignal): AsyncIterable<LogChunk>;
  /** Runs a command to its end. An abort kills it, where the Engine's process ids are ours too (the Engine itself cannot stop an exec). */
  execInContainer(
    id: string,
    command: string[],
    options?: { maxOutputBytes?: number },
    signal?: AbortSignal,
  ): Promise<ExecResult>;
  /** A regular file of a container in any state; links are followed inside it. undefined when there is none. */
  readContainerFile(id: string, path: string, signal?: AbortSignal): Promise<Buffer | undefined>;

  inspectImage(name: string, signal?: AbortSignal): Promise<ImageDetail>;
  listImages(signal?: AbortSignal): Promise<ImageSummary[]>;
  /** Resolves when the whole pull is done; fails with the Engine's last error line. An abort ends the pull in the Engine too. */
  pullImage(name: string, options?: PullOptions, signal?: AbortSignal): Promise<void>;
  removeImage(name: string, signal?: AbortSignal): Promise<void>;

  /**
   * Container events from `sinceNano` on, only those actions if some are named; ends or throws when the connection does.
   * `onOpen` is told when the Engine has accepted.
   */
  containerEvents(
    options: { sinceNano?: bigint; labels?: string[]; actions?: string[]; onOpen?: () => void },
    signal: AbortSignal,
  ): AsyncIterable<ContainerEvent>;

  /** Drops the idle connections. */
  close(): void;
}
