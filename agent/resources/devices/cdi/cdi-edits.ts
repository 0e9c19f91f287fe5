import type { ContainerEdits } from './cdi-spec.ts';

/** Edits as far as the Engine's own settings can express them. */
export interface ExpressedEdits {
  /** Take the place of variables of the same name. */
  env: Map<string, string>;
  devices: { hostPath: string; containerPath: string; permissions: string }[];
  mounts: { hostPath: string; containerPath: string; readOnly: boolean }[];
  groups: string[];
}

/** What only somebody who writes the OCI specification can do. */
const BEYOND = ['hooks', 'intelRdt', 'netDevices'] as const;

/**
 * Turns the edits of a container's CDI devices into the Engine's settings, as an Engine without CDI knows them. Pure.
 * @throws Error that names what cannot be expressed: leaving it out would give a container a device that does not work
 */
export function expressEdits(edits: readonly { device: string; edits: ContainerEdits }[]): ExpressedEdits {
  const expressed: ExpressedEdits = { env: new Map(), devices: [], mounts: [], groups: [] };
  const groups = new Set<string>();
  for (const { device, edits: some } of edits) {
    for (const part of BEYOND) {
      const value = some[part];
      if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
      throw new Error(
        `the CDI device ${device} has ${part}, which this Docker Engine cannot be told: Engine 25 and newer do it, with their feature cdi enabled`,
      );
    }
    for (const variable of some.env ?? []) {
      const at = variable.indexOf('=');
      if (at > 0) expressed.env.set(variable.slice(0, at), variable.slice(at + 1));
    }
    for (const { path, hostPath, permissions } of some.deviceNodes ?? [])
      expressed.devices.push({ containerPath: path, hostPath: hostPath || path, permissions: permissions || 'rwm' });
    for (const { hostPath, containerPath, options = [], type } of some.mounts ?? []) {
      if (type !== undefined && type !== '' && type !== 'bind')
        throw new Error(`the CDI device ${device} mounts a ${type} at ${containerPath}: only binds can be expressed`);
      expressed.mounts.push({ hostPath, containerPath, readOnly: options.includes('ro') });
    }
    for (const gid of some.additionalGids ?? []) if (gid !== 0) groups.add(String(gid));
  }
  return { ...expressed, groups: [...groups] };
}
