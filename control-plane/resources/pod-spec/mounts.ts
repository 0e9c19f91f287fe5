import type { Container, Volume, VolumeMount } from '../../../src/kube/types.ts';
import { type FieldError, forbidden, invalid, notFound, notSupported, required } from '../../apiserver/field-error.ts';
import { validateDescendingPath } from './paths.ts';

/** volumeMounts and volumeDevices of a container. */

type Volumes = ReadonlyMap<string, Volume>;
type Mounting = Pick<Container, 'volumeMounts' | 'volumeDevices' | 'securityContext'>;

export function validateVolumeMounts(container: Mounting, volumes: Volumes, field: string): FieldError[] {
  const paths = new Set<string>();
  const devices = container.volumeDevices ?? [];
  return (container.volumeMounts ?? []).flatMap((mount, index) => {
    const at = `${field}[${index}]`;
    const errors: FieldError[] = [];
    if (!mount.name) errors.push(required(`${at}.name`));
    if (!volumes.has(mount.name)) errors.push(notFound(`${at}.name`, mount.name ?? ''));
    if (!mount.mountPath) errors.push(required(`${at}.mountPath`));
    if (paths.has(mount.mountPath)) errors.push(invalid(`${at}.mountPath`, mount.mountPath, 'must be unique'));
    paths.add(mount.mountPath);
    if (devices.some((device) => device.name === mount.name))
      errors.push(invalid(`${at}.name`, mount.name, 'must not already exist in volumeDevices'));
    if (devices.some((device) => device.devicePath === mount.mountPath))
      errors.push(invalid(`${at}.mountPath`, mount.mountPath, 'must not already exist as a path in volumeDevices'));
    // Upstream names the list and not the element in these.
    if (mount.subPath) errors.push(...validateDescendingPath(mount.subPath, `${field}.subPath`));
    if (mount.subPathExpr) {
      if (mount.subPath)
        errors.push(invalid(`${at}.subPathExpr`, mount.subPathExpr, 'subPathExpr and subPath are mutually exclusive'));
      errors.push(...validateDescendingPath(mount.subPathExpr, `${field}.subPathExpr`));
    }
    errors.push(...validatePropagation(mount, container, `${field}.mountPropagation`));
    errors.push(...validateRecursiveReadOnly(mount, `${field}.recursiveReadOnly`));
    return errors;
  });
}

const PROPAGATIONS = ['Bidirectional', 'HostToContainer', 'None'];

function validatePropagation(mount: VolumeMount, container: Mounting, field: string): FieldError[] {
  if (!mount.mountPropagation) return [];
  const errors: FieldError[] = [];
  if (!PROPAGATIONS.includes(mount.mountPropagation))
    errors.push(notSupported(field, mount.mountPropagation, PROPAGATIONS));
  if (mount.mountPropagation === 'Bidirectional' && container.securityContext?.privileged !== true)
    errors.push(forbidden(field, 'Bidirectional mount propagation is available only to privileged containers'));
  return errors;
}

function validateRecursiveReadOnly(mount: VolumeMount, field: string): FieldError[] {
  switch (mount.recursiveReadOnly ?? 'Disabled') {
    case 'Disabled':
      return [];
    case 'Enabled':
    case 'IfPossible': {
      const errors: FieldError[] = [];
      if (!mount.readOnly) errors.push(forbidden(field, 'may only be specified when readOnly is true'));
      if (mount.mountPropagation && mount.mountPropagation !== 'None')
        errors.push(forbidden(field, 'may only be specified when mountPropagation is None or not specified'));
      return errors;
    }
    default:
      return [notSupported(field, mount.recursiveReadOnly, ['Disabled', 'Enabled', 'IfPossible'])];
  }
}

export function validateVolumeDevices(container: Mounting, volumes: Volumes, field: string): FieldError[] {
  const names = new Set<string>();
  const paths = new Set<string>();
  const mounts = container.volumeMounts ?? [];
  return (container.volumeDevices ?? []).flatMap((device, index) => {
    const at = `${field}[${index}]`;
    const errors: FieldError[] = [];
    const { name, devicePath } = device;
    const volume = volumes.get(name);
    if (!name) errors.push(required(`${at}.name`));
    if (name && names.has(name)) errors.push(invalid(`${at}.name`, name, 'must be unique'));
    if (!volume) errors.push(notFound(`${at}.name`, name ?? ''));
    else if (!volume.persistentVolumeClaim && !volume.ephemeral)
      errors.push(
        invalid(
          `${at}.name`,
          name,
          'can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode',
        ),
      );
    if (!devicePath) errors.push(required(`${at}.devicePath`));
    if (paths.has(devicePath)) errors.push(invalid(`${at}.devicePath`, devicePath, 'must be unique'));
    if ((devicePath ?? '').split('/').includes('..'))
      errors.push(invalid(`${at}.devicePath`, devicePath, "can not contain backsteps ('..')"));
    if (mounts.some((mount) => mount.name === name))
      errors.push(invalid(`${at}.name`, name, 'must not already exist in volumeMounts'));
    if (mounts.some((mount) => mount.mountPath === devicePath))
      errors.push(invalid(`${at}.devicePath`, devicePath, 'must not already exist as a path in volumeMounts'));
    names.add(name);
    paths.add(devicePath);
    return errors;
  });
}
