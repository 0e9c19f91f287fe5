import { posix } from 'node:path';
import type { BindMount } from '../../src/docker/engine.ts';
import type { Container, VolumeMount } from '../../src/kube/types.ts';
import { configError } from './errors.ts';
import { expandVariables } from './expansion.ts';

/** A pod volume that is ready on the host. */
export interface MountedVolume {
  hostPath: string;
  /** Mounted read-only whatever the container says (configMap, secret, projected, downwardAPI). */
  readOnly: boolean;
  /** Only the agent writes there, so a subPath cannot be swapped for a symlink under our feet. */
  agentOwned: boolean;
}

/** Files of the pod that every container sees unless it mounts something there itself. */
export interface PodFiles {
  hosts: string;
  resolvConf: string;
  /** Host file behind terminationMessagePath. */
  terminationMessage: string;
}

const PROPAGATION = { None: 'rprivate', HostToContainer: 'rslave', Bidirectional: 'rshared' } as const;

/** All bind mounts of a container. Pure; sources have to exist when the container is created. */
export function buildMounts(
  container: Container,
  volumes: ReadonlyMap<string, MountedVolume>,
  files: PodFiles,
  variables: ReadonlyMap<string, string>,
): BindMount[] {
  const mounts = (container.volumeMounts ?? []).map((mount) => volumeMount(mount, volumes, variables));
  const taken = new Set(mounts.map(({ Target }) => posix.normalize(Target)));
  const add = (Source: string, Target: string) => {
    if (!taken.has(Target)) mounts.push({ Type: 'bind', Source, Target });
  };
  add(files.hosts, '/etc/hosts');
  add(files.resolvConf, '/etc/resolv.conf');
  add(files.terminationMessage, container.terminationMessagePath || DEFAULT_TERMINATION_MESSAGE_PATH);
  return mounts;
}

export const DEFAULT_TERMINATION_MESSAGE_PATH = '/dev/termination-log';

function volumeMount(
  mount: VolumeMount,
  volumes: ReadonlyMap<string, MountedVolume>,
  variables: ReadonlyMap<string, string>,
): BindMount {
  const volume = volumes.get(mount.name);
  if (!volume) throw configError(`volume mount ${mount.mountPath}: no volume named ${mount.name} in the pod`);
  if (mount.recursiveReadOnly === 'Enabled')
    throw configError(`volume mount ${mount.mountPath}: recursiveReadOnly Enabled is not supported yet`);
  const subPath = expandSubPath(mount, variables);
  const propagation = PROPAGATION[(mount.mountPropagation ?? 'None') as keyof typeof PROPAGATION];
  return {
    Type: 'bind',
    Source: subPath ? subPathSource(mount, volume, subPath) : volume.hostPath,
    // The API allows relative paths for other systems; here they start at the root.
    Target: posix.resolve('/', mount.mountPath),
    ReadOnly: (mount.readOnly ?? false) || volume.readOnly,
    BindOptions: { Propagation: propagation ?? 'rprivate' },
  };
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

function subPathSource(mount: VolumeMount, volume: MountedVolume, subPath: string): string {
  if (posix.isAbsolute(subPath) || subPath.split('/').includes('..'))
    throw configError(`subPath ${JSON.stringify(subPath)} must be relative and must not contain ".."`);
  if (!volume.agentOwned)
    throw configError(
      `volume mount ${mount.mountPath}: subPath is supported for configMap, secret, projected and downwardAPI volumes only, not yet for volume ${mount.name}`,
    );
  return posix.join(volume.hostPath, subPath);
}
