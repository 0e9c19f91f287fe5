import type { Allocation } from './allocations.ts';

/** What the plugins' answers mean for a container's configuration. */
export interface DeviceOptions {
  env: ReadonlyMap<string, string>;
  devices: readonly { hostPath: string; containerPath: string; permissions: string }[];
  mounts: readonly { hostPath: string; containerPath: string; readOnly: boolean }[];
  annotations: Readonly<Record<string, string>>;
  /** Fully qualified names of CDI devices. */
  cdiDevices: readonly string[];
}

export interface OptionsWithConflicts extends DeviceOptions {
  /** What two plugins want differently; the first by resource name has it. */
  conflicts: string[];
}

/** The answers of all resources of one container together. Where two say the same place, the first stays. Pure. */
export function mergeDeviceOptions(allocations: ReadonlyMap<string, Allocation>): OptionsWithConflicts {
  const env = new Map<string, string>();
  const annotations = new Map<string, string>();
  const devices = new Map<string, DeviceOptions['devices'][number]>();
  const mounts = new Map<string, DeviceOptions['mounts'][number]>();
  const cdiDevices = new Set<string>();
  const conflicts: string[] = [];
  const put = <T>(into: Map<string, T>, key: string, value: T, what: string, show: (value: T) => string) => {
    const present = into.get(key);
    if (present === undefined) into.set(key, value);
    else if (show(present) !== show(value))
      conflicts.push(`${what} ${key}: ${show(value)} is passed over for ${show(present)}`);
  };
  const itself = (value: string) => value;
  for (const resource of [...allocations.keys()].sort()) {
    const { response } = allocations.get(resource)!;
    for (const [name, value] of Object.entries(response.envs)) put(env, name, value, 'variable', itself);
    for (const device of response.devices)
      put(devices, device.containerPath, device, 'device', ({ hostPath }) => hostPath);
    for (const mount of response.mounts) put(mounts, mount.containerPath, mount, 'mount', ({ hostPath }) => hostPath);
    for (const [name, value] of Object.entries(response.annotations))
      put(annotations, name, value, 'annotation', itself);
    for (const { name } of response.cdiDevices) cdiDevices.add(name);
  }
  return {
    env,
    devices: [...devices.values()],
    mounts: [...mounts.values()],
    annotations: Object.fromEntries(annotations),
    cdiDevices: [...cdiDevices],
    conflicts,
  };
}
