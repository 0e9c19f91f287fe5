import { parse } from 'yaml';

/** What a CDI device does to a container: the parts of an OCI specification that it adds. Names are the CDI specification's. */
export interface ContainerEdits {
  env?: string[];
  deviceNodes?: { path: string; hostPath?: string; permissions?: string }[];
  mounts?: { hostPath: string; containerPath: string; options?: string[]; type?: string }[];
  hooks?: { hookName: string; path: string }[];
  additionalGids?: number[];
  intelRdt?: object;
  netDevices?: object[];
}

export interface CdiSpec {
  /** `vendor.com/class` */
  kind: string;
  devices: { name: string; containerEdits?: ContainerEdits }[];
  /** Come with any of its devices. */
  containerEdits?: ContainerEdits;
}

const KIND = /^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?\/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?$/;
const DEVICE = /^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;
/** 0.x and 1.x are read; what a later one may add is refused by its name. */
const VERSION = /^v?[01]\.\d+(\.\d+)?$/;

/** `vendor.com/class=device`. @throws Error when it is no such name */
export function parseCdiName(name: string): { kind: string; device: string } {
  const at = name.indexOf('=');
  const [kind, device] = [name.slice(0, Math.max(0, at)), name.slice(at + 1)];
  if (!KIND.test(kind) || !DEVICE.test(device))
    throw new Error(`"${name}" is not the name of a CDI device: vendor/class=device is`);
  return { kind, device };
}

/** A file of a CDI directory, YAML or JSON. Pure. @throws Error that says what is wrong with it */
export function parseCdiSpec(text: string): CdiSpec {
  const spec = parse(text) as (Partial<CdiSpec> & { cdiVersion?: unknown }) | null;
  if (!spec || typeof spec !== 'object') throw new Error('it is not a CDI specification');
  const { cdiVersion, kind, devices, containerEdits } = spec;
  if (typeof cdiVersion !== 'string' || !VERSION.test(cdiVersion))
    throw new Error(`cdiVersion ${JSON.stringify(cdiVersion)} is not supported: 0.x and 1.x are`);
  if (typeof kind !== 'string' || !KIND.test(kind))
    throw new Error(`kind ${JSON.stringify(kind)} is invalid: vendor/class is accepted`);
  if (!Array.isArray(devices)) throw new Error('devices is not a list');
  for (const device of devices)
    if (!DEVICE.test(device?.name ?? '')) throw new Error(`device name ${JSON.stringify(device?.name)} is invalid`);
  return { kind, devices, ...(containerEdits && { containerEdits }) };
}
