import type {
  ContainerDetail,
  ContainerEvent,
  ContainerState,
  ContainerSummary,
  EngineInfo,
  EngineVersion,
  ImageDetail,
  ImageSummary,
  PullProgress,
} from './engine.ts';

/** The Engine's answers, as far as we read them. Sizes, ports and mounts of the list are not asked for. */
export interface WireSummary {
  Id: string;
  Names: string[] | null;
  Image: string;
  ImageID: string;
  Labels: Record<string, string> | null;
  State: string;
  Created: number;
  HostConfig?: { NetworkMode?: string };
}

export interface WireDetail {
  Id: string;
  Name: string;
  Image: string;
  Created: string;
  LogPath?: string;
  State: {
    Status: string;
    Running: boolean;
    OOMKilled: boolean;
    Dead?: boolean;
    Pid: number;
    ExitCode: number;
    Error: string;
    StartedAt: string;
    FinishedAt: string;
  };
  Config: { Image: string; Labels: Record<string, string> | null; Tty?: boolean };
  HostConfig: { NetworkMode: string; Memory?: number };
  Mounts?: { Source: string; Destination: string }[] | null;
}

export interface WireImage {
  Id: string;
  RepoTags: string[] | null;
  RepoDigests: string[] | null;
  Size: number;
  Config?: {
    User?: string;
    WorkingDir?: string;
    StopSignal?: string;
    Entrypoint?: string[] | null;
    Cmd?: string[] | null;
  } | null;
  GraphDriver?: { Name: string; Data: Record<string, string> | null } | null;
}

export interface WireEvent {
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> | null };
  timeNano: number;
}

export interface WireInfo {
  Name: string;
  ServerVersion: string;
  CgroupDriver: string;
  CgroupVersion?: string;
  DockerRootDir: string;
  SecurityOptions: string[] | null;
  LoggingDriver: string;
  Runtimes?: Record<string, unknown>;
  DefaultRuntime?: string;
  Driver?: string;
  LiveRestoreEnabled?: boolean;
  CDISpecDirs?: string[] | null;
}

export interface WireVersion {
  Version: string;
  ApiVersion: string;
  MinAPIVersion?: string;
  Components?: { Name: string; Version: string }[];
}

export interface WirePullProgress {
  id?: string;
  status?: string;
  progressDetail?: { current?: number; total?: number };
  error?: string;
  /** The registry's HTTP status, from Engines that pass it on. */
  errorDetail?: { code?: number };
}

/** Go's zero time, which the Engine writes for "not yet", is undefined here. */
function parseTime(text: string): number | undefined {
  if (text === '' || text.startsWith('0001-01-01')) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

function parseState(state: string): ContainerState {
  if (state === 'created') return 'created';
  // A restarting or paused container is alive in the sense of the pod's life.
  if (state === 'running' || state === 'paused' || state === 'restarting') return 'running';
  if (state === 'exited' || state === 'dead' || state === 'removing') return 'exited';
  return 'unknown';
}

const withoutSlash = (name: string) => name.replace(/^\//, '');

export function parseSummary(wire: WireSummary): ContainerSummary {
  return {
    id: wire.Id,
    name: withoutSlash(wire.Names?.[0] ?? ''),
    image: wire.Image,
    imageId: wire.ImageID,
    labels: wire.Labels ?? {},
    state: parseState(wire.State),
    createdAtMs: wire.Created * 1000,
    networkMode: wire.HostConfig?.NetworkMode ?? '',
  };
}

/** A failed start leaves `created` with an exit code: that container has had its run, so it counts as exited. */
export function parseDetail(wire: WireDetail): ContainerDetail {
  const createdAtMs = parseTime(wire.Created) ?? 0;
  const finishedAtMs = parseTime(wire.State.FinishedAt);
  const startFailed = wire.State.Status === 'created' && wire.State.ExitCode !== 0;
  const state = startFailed ? 'exited' : wire.State.Running ? 'running' : parseState(wire.State.Status);
  return {
    id: wire.Id,
    name: withoutSlash(wire.Name),
    image: wire.Config.Image,
    imageId: wire.Image,
    labels: wire.Config.Labels ?? {},
    state,
    pid: wire.State.Running ? wire.State.Pid : undefined,
    createdAtMs,
    startedAtMs: parseTime(wire.State.StartedAt),
    finishedAtMs: startFailed ? createdAtMs : state === 'exited' ? finishedAtMs : undefined,
    exitCode: state === 'exited' ? wire.State.ExitCode : undefined,
    oomKilled: wire.State.OOMKilled,
    error: wire.State.Error,
    mounts: (wire.Mounts ?? []).map((mount) => ({ source: mount.Source, destination: mount.Destination })),
    tty: wire.Config.Tty ?? false,
    logPath: wire.LogPath ?? '',
    networkMode: wire.HostConfig.NetworkMode,
    memoryBytes: wire.HostConfig.Memory ?? 0,
  };
}

export function parseImage(wire: WireImage): ImageDetail {
  return {
    id: wire.Id,
    repoTags: wire.RepoTags ?? [],
    repoDigests: wire.RepoDigests ?? [],
    sizeBytes: wire.Size,
    user: wire.Config?.User ?? '',
    workingDir: wire.Config?.WorkingDir ?? '',
    stopSignal: wire.Config?.StopSignal || undefined,
    entrypoint: wire.Config?.Entrypoint ?? [],
    command: wire.Config?.Cmd ?? [],
    ...layerDirectories(wire),
  };
}

function layerDirectories({ GraphDriver }: WireImage): Pick<ImageDetail, 'layerDirectories'> {
  const { UpperDir, LowerDir } = GraphDriver?.Data ?? {};
  if (GraphDriver?.Name !== 'overlay2' || !UpperDir) return {};
  return { layerDirectories: [UpperDir, ...(LowerDir ? LowerDir.split(':') : [])] };
}

export function parseImageSummary(wire: WireImage & { Created: number }): ImageSummary {
  return {
    id: wire.Id,
    repoTags: (wire.RepoTags ?? []).filter((tag) => tag !== '<none>:<none>'),
    repoDigests: (wire.RepoDigests ?? []).filter((digest) => !digest.startsWith('<none>@')),
    sizeBytes: wire.Size,
    createdAtMs: wire.Created * 1000,
  };
}

export function parsePullProgress({ id, status = '', progressDetail }: WirePullProgress): PullProgress {
  // The first line, `Pulling from …`, has the tag or digest where the others have a layer.
  const layer = id !== undefined && /^[0-9a-f]{12}$/.test(id) ? id : undefined;
  return { layer, status, current: progressDetail?.current, total: progressDetail?.total };
}

export function parseEvent(wire: WireEvent): ContainerEvent {
  // `exec_create: sh -c …` carries the command behind the colon.
  const action = wire.Action.split(':', 1)[0]!;
  return { action, id: wire.Actor.ID, attributes: wire.Actor.Attributes ?? {}, timeNano: BigInt(wire.timeNano) };
}

export function parseInfo(wire: WireInfo): EngineInfo {
  const driver = wire.CgroupDriver;
  return {
    name: wire.Name,
    serverVersion: wire.ServerVersion,
    cgroupDriver: driver === 'systemd' || driver === 'none' ? driver : 'cgroupfs',
    cgroupVersion: wire.CgroupVersion === '2' ? '2' : '1',
    dockerRootDir: wire.DockerRootDir,
    securityOptions: wire.SecurityOptions ?? [],
    loggingDriver: wire.LoggingDriver,
    runtimes: Object.keys(wire.Runtimes ?? {}),
    defaultRuntime: wire.DefaultRuntime ?? '',
    storageDriver: wire.Driver ?? '',
    liveRestore: wire.LiveRestoreEnabled ?? false,
    cdiSpecDirs: wire.CDISpecDirs ?? [],
  };
}

export function parseVersion(wire: WireVersion): EngineVersion {
  return {
    version: wire.Version,
    apiVersion: wire.ApiVersion,
    minApiVersion: wire.MinAPIVersion ?? '',
    components: Object.fromEntries((wire.Components ?? []).map(({ Name, Version }) => [Name.toLowerCase(), Version])),
  };
}
