import type { QosClass } from './qos.ts';

export type CgroupDriver = 'cgroupfs' | 'systemd';

/**
 * A cgroup by its parts, below the configured cgroup root: `[]` is the root itself, `['kubepods', 'burstable', 'pod<uid>']`
 * a pod. How it is spelled depends on Docker's cgroup driver.
 */
export type CgroupName = readonly string[];

export const KUBEPODS: CgroupName = ['kubepods'];

export function qosCgroup(qos: QosClass): CgroupName {
  return qos === 'Guaranteed' ? KUBEPODS : [...KUBEPODS, qos.toLowerCase()];
}

export function podCgroup(qos: QosClass, uid: string): CgroupName {
  return [...qosCgroup(qos), `pod${uid}`];
}

/** Path below the cgroup mounts: `/kubepods/burstable/pod…`, or systemd's nested slices. */
export function cgroupPath(driver: CgroupDriver, name: CgroupName): string {
  if (driver === 'cgroupfs') return `/${name.join('/')}`;
  return `/${name.map((_, index) => sliceName(name.slice(0, index + 1))).join('/')}`;
}

/** For `HostConfig.CgroupParent`: the path, or only the slice's own name, whose parents systemd reads from its dashes. */
export function dockerCgroupParent(driver: CgroupDriver, name: CgroupName): string {
  return driver === 'cgroupfs' ? cgroupPath(driver, name) : sliceName(name);
}

/** `kubepods-burstable-pod1234_5678.slice`: a dash separates levels, so those inside a part become underscores. */
export function sliceName(name: CgroupName): string {
  return `${name.map((part) => part.replaceAll('-', '_')).join('-')}.slice`;
}

/** `a-b.slice` → `/a.slice/a-b.slice`: where systemd puts a slice. */
export function slicePath(slice: string): string {
  const parts = slice.replace(/\.slice$/, '').split('-');
  return `/${parts.map((_, index) => `${parts.slice(0, index + 1).join('-')}.slice`).join('/')}`;
}

/** The UID in the last part of a pod's cgroup, of either driver; undefined when it is none of a pod. */
export function uidOfCgroup(driver: CgroupDriver, directory: string): string | undefined {
  const match = driver === 'cgroupfs' ? /^pod(.+)$/.exec(directory) : /-pod([^-]+)\.slice$/.exec(directory);
  // Underscores of a slice stand for the dashes of a UUID; hashes of static pods have neither.
  return driver === 'systemd' ? match?.[1]?.replaceAll('_', '-') : match?.[1];
}
