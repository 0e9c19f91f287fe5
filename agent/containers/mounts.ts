import { posix } from 'node:path';
import type { BindMount } from '../../src/docker/engine.ts';
import type { Container, VolumeMount } from '../../src/kube/types.ts';
import { ContainerStartError, configError } from './errors.ts';
import { expandVariables } from './expansion.ts';

/** A pod volume that is ready on the host. */
export interface MountedVolume {
  hostPath: string;
  /** Mounted read-only whatever the container says (configMap, secret, projected, downwardAPI). */
  readOnly: boolean;
  /** Only the agent writes there: what is refreshed reaches the containers, and they can change nothing. */
  agentOwned: boolean;
  /**
   * The mount at hostPath carries its restrictions itself (read-only, noexec) and the Engine must not put others in
   * their place.
   */
  keepsMountFlags?: boolean;
  /** The pod's fsGroup is to be applied to what it holds, once it is set up. */
  takesFsGroup?: boolean;
  /** To be set up again whenever the pod is refreshed, though others of its kind are not (CSI's requiresRepublish). */
  refreshes?: boolean;
  /** The volume cannot be had, and only the containers that mount it have to wait for it. */
  unavailable?: { reason: string; message: string; retryAfterMs?: number };
}

/** Files of the pod that every container sees unless it mounts something there itself. */
export interface PodFiles {
  hosts: string;
  resolvConf: string;
  /** Host file behind terminationMessagePath. */
  terminationMessage: string;
}

/** One volumeMount with everything decided that needs no look at the host. */
export interface PlannedMount {
  /** Of the volume. */
  name: string;
  volume: MountedVolume;
  /** Absolute, in the container. */
  target: string;
  /** Expanded and relative, without `..`; empty: the whole volume. */
  subPath: string;
  readOnly: boolean;
  /** Mounts below it are read-only too. */
  recursiveReadOnly: boolean;
  propagation: 'rprivate' | 'rslave' | 'rshared';
}

const PROPAGATION = { None: 'rprivate', HostToContainer: 'rslave', Bidirectional: 'rshared' } as const;

export const DEFAULT_TERMINATION_MESSAGE_PATH = '/dev/termination-log';

/** What the container's volumeMounts ask for. Pure; throws ContainerStartError with upstream's words. */
export function planMounts(
  container: Container,
  volumes: ReadonlyMap<string, MountedVolume>,
  variables: ReadonlyMap<string, string>,
  host: { recursiveReadOnly: boolean },
): PlannedMount[] {
  return (container.volumeMounts ?? []).map((mount) => {
    const volume = volumes.get(mount.name);
    if (!volume) throw configError(`cannot find volume "${mount.name}" to mount into container "${container.name}"`);
    if (volume.unavailable)
      throw new ContainerStartError(volume.unavailable.reason, volume.unavailable.message, volume.unavailable);
    return {
      name: mount.name,
      volume,
      // The API allows relative paths for other systems; here they start at the root.
      target: posix.resolve('/', mount.mountPath),
      subPath: checkedSubPath(mount, variables),
      readOnly: (mount.readOnly ?? false) || volume.readOnly,
      recursiveReadOnly: resolveRecursiveReadOnly(mount, host.recursiveReadOnly),
      propagation: PROPAGATION[(mount.mountPropagation ?? 'None') as keyof typeof PROPAGATION] ?? 'rprivate',
    };
  });
}

/** Whether this mount's `recursiveReadOnly` comes true. Throws when it is asked for and cannot be had. */
export function resolveRecursiveReadOnly(mount: VolumeMount, isSupported: boolean): boolean {
  const { recursiveReadOnly: mode = 'Disabled', mountPropagation = 'None', name } = mount;
  if (mode === 'Disabled') return false;
  const asked = `failed to resolve recursive read-only mode: volume "${name}" requested recursive read-only mode`;
  if (!mount.readOnly) throw configError(`${asked}, but it is not read-only`);
  if (mountPropagation !== 'None')
    throw configError(`${asked}, but it is not compatible with propagation "${mountPropagation}"`);
  if (mode === 'Enabled' && !isSupported) throw configError(`${asked}, but it is not supported by the runtime`);
  if (mode !== 'Enabled' && mode !== 'IfPossible')
    throw configError(`failed to resolve recursive read-only mode: unknown recursive read-only mode "${mode}"`);
  return isSupported;
}

function checkedSubPath(mount: VolumeMount, variables: ReadonlyMap<string, string>): string {
  const path = expandSubPath(mount, variables);
  if (posix.isAbsolute(path)) throw configError(`error SubPath \`${path}\` must not be an absolute path`);
  if (path.split('/').includes('..'))
    throw configError(`unable to provision SubPath \`${path}\`: must not contain '..'`);
  return path;
}

function expandSubPath(mount: VolumeMount, variables: ReadonlyMap<string, string>): string {
  if (!mount.subPathExpr) return mount.subPath ?? '';
  const unknown: string[] = [];
  const path = expandVariables(
    mount.subPathExpr,
    (name) => variables.get(name),
    (name) => unknown.push(name),
  );
  if (unknown.length > 0)
    throw configError(`subPathExpr ${mount.subPathExpr}: missing value for ${unknown.map((n) => `"${n}"`).join(', ')}`);
  return path;
}

/**
 * All bind mounts of a container. Pure. `sources`: host paths that were made for single mounts; the others are the
 * volumes themselves.
 */
export function buildMounts(
  container: Container,
  planned: readonly PlannedMount[],
  sources: ReadonlyMap<PlannedMount, string>,
  files: PodFiles,
): BindMount[] {
  const mounts = planned.map((mount) => volumeMount(mount, sources.get(mount) ?? mount.volume.hostPath));
  const taken = new Set(mounts.map(({ Target }) => posix.normalize(Target)));
  const add = (Source: string, Target: string) => {
    if (!taken.has(Target)) mounts.push({ Type: 'bind', Source, Target });
  };
  add(files.hosts, '/etc/hosts');
  add(files.resolvConf, '/etc/resolv.conf');
  add(files.terminationMessage, container.terminationMessagePath || DEFAULT_TERMINATION_MESSAGE_PATH);
  return mounts;
}

function volumeMount(mount: PlannedMount, source: string): BindMount {
  const readOnly = mount.readOnly && !mount.volume.keepsMountFlags;
  return {
    Type: 'bind',
    Source: source,
    Target: mount.target,
    ReadOnly: readOnly,
    BindOptions: {
      ...(mount.propagation !== 'rprivate' && { Propagation: mount.propagation }),
      // Engines from 25 on make read-only binds recursive on their own; Kubernetes promises that only where it is asked for.
      ...(readOnly && !mount.recursiveReadOnly && { ReadOnlyNonRecursive: true }),
    },
  };
}
