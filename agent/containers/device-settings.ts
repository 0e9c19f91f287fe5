import type { BindMount, ContainerConfig, HostConfig } from '../../src/docker/engine.ts';
import type { Container, Pod } from '../../src/kube/types.ts';

/** What the configuration of a container gets with its devices. */
export interface DeviceSettings {
  /** The pod's own variables of the same name stay. */
  env: ReadonlyMap<string, string>;
  /** These take the place of the pod's own. */
  overridingEnv: ReadonlyMap<string, string>;
  devices: readonly { hostPath: string; containerPath: string; permissions: string }[];
  mounts: readonly { hostPath: string; containerPath: string; readOnly: boolean }[];
  annotations: Readonly<Record<string, string>>;
  /** Numeric ids. */
  groups: readonly string[];
  /** Left to the Engine: fully qualified names. */
  cdiDevices: readonly string[];
}

/** Who gives containers their devices (implemented by agent/resources/devices). */
export interface ContainerDevices {
  /** @throws Error: the container cannot be made, for now */
  prepare(pod: Pod, container: Container): Promise<DeviceSettings | undefined>;
  /** Told the UIDs of pods whose devices are otherwise than they were. Returns the unsubscriber. */
  onChange(handler: (uid: string) => void): () => void;
}

/** As the CRI shim for Docker marks what was an annotation. */
const ANNOTATION_LABEL = 'annotation.';

/** The variables of a container with those of its devices. Pure. */
export function withDeviceVariables(
  variables: ReadonlyMap<string, string>,
  settings: DeviceSettings | undefined,
): ReadonlyMap<string, string> {
  if (!settings) return variables;
  return new Map([...settings.env, ...variables, ...settings.overridingEnv]);
}

/** The body of the create call with the container's devices; where the pod mounts something itself, that stays. Pure. */
export function withDevices(config: ContainerConfig, settings: DeviceSettings | undefined): ContainerConfig {
  if (!settings) return config;
  const host = config.HostConfig ?? {};
  const taken = new Set(host.Mounts?.map(({ Target }) => Target));
  const mounts = settings.mounts.filter(({ containerPath }) => !taken.has(containerPath)).map(bind);
  const annotations = Object.entries(settings.annotations);
  return {
    ...config,
    ...(annotations.length > 0 && {
      Labels: { ...config.Labels, ...Object.fromEntries(annotations.map(([k, v]) => [ANNOTATION_LABEL + k, v])) },
    }),
    HostConfig: {
      ...host,
      ...(settings.devices.length > 0 && { Devices: [...(host.Devices ?? []), ...settings.devices.map(device)] }),
      ...(mounts.length > 0 && { Mounts: [...(host.Mounts ?? []), ...mounts] }),
      ...(settings.groups.length > 0 && { GroupAdd: [...(host.GroupAdd ?? []), ...settings.groups] }),
      ...(annotations.length > 0 && { Annotations: { ...settings.annotations } }),
      ...(settings.cdiDevices.length > 0 && {
        DeviceRequests: [{ Driver: 'cdi', DeviceIDs: [...settings.cdiDevices] }],
      }),
    },
  };
}

function device({ hostPath, containerPath, permissions }: DeviceSettings['devices'][number]) {
  // Nothing said is everything, as on the Engine's own command line.
  return { PathOnHost: hostPath, PathInContainer: containerPath, CgroupPermissions: permissions || 'rwm' };
}

function bind({ hostPath, containerPath, readOnly }: DeviceSettings['mounts'][number]): BindMount {
  return {
    Type: 'bind',
    Source: hostPath,
    Target: containerPath,
    ReadOnly: readOnly,
    BindOptions: { ...(readOnly && { ReadOnlyNonRecursive: true }) },
  } satisfies NonNullable<HostConfig['Mounts']>[number];
}
