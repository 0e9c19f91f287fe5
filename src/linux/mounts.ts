import { readFileSync } from 'node:fs';
import { mount, mountSetattr, SyscallError, umount } from './libc.ts';

/** One line of /proc/<pid>/mountinfo (proc_pid_mountinfo(5)). */
export interface Mount {
  id: number;
  parentId: number;
  device: string;
  /** The directory of the file system that is mounted: `/` or, for a bind mount, a path below it. */
  root: string;
  target: string;
  options: string[];
  type: string;
  source: string;
  superOptions: string[];
}

/** Parses mountinfo. Spaces, tabs, newlines and backslashes in paths come as octal escapes. */
export function parseMountInfo(text: string): Mount[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const fields = line.split(' ');
      const dash = fields.indexOf('-', 6);
      const [id, parentId, device, root, target, options] = fields;
      return {
        id: Number(id),
        parentId: Number(parentId),
        device: device!,
        root: unescapeOctal(root!),
        target: unescapeOctal(target!),
        options: options!.split(','),
        type: fields[dash + 1]!,
        source: unescapeOctal(fields[dash + 2]!),
        superOptions: (fields[dash + 3] ?? '').split(','),
      };
    });
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The mounts that this process sees, in the order in which they cover each other. */
export function readMounts(path = '/proc/self/mountinfo'): Mount[] {
  return parseMountInfo(readFileSync(path, 'utf8'));
}

const FLAGS = {
  readOnly: 1,
  noSuid: 2,
  noDev: 4,
  noExec: 8,
  remount: 32,
  bind: 4096,
  recursive: 16384,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
} as const;

export type MountFlag = keyof typeof FLAGS;

/**
 * mount(2).
 * @throws SyscallError (EPERM, ENOENT, EBUSY, …)
 */
export function mountFileSystem(request: {
  source: string;
  target: string;
  type?: string;
  flags?: readonly MountFlag[];
  data?: string;
}): void {
  const bits = (request.flags ?? []).reduce((sum, flag) => sum | FLAGS[flag], 0);
  mount(request.source, request.target, request.type ?? null, bits, request.data ?? null);
}

/** Binds what the descriptor (O_PATH is enough) refers to, whatever its path leads to by now. */
export function bindDescriptor(fd: number, target: string, options: { recursive?: boolean } = {}): void {
  const flags: MountFlag[] = options.recursive ? ['bind', 'recursive'] : ['bind'];
  mountFileSystem({ source: `/proc/self/fd/${fd}`, target, flags });
}

const MOUNT_ATTR_RDONLY = 1;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_RECURSIVE = 0x8000;

/**
 * Makes the mount and every mount below it read-only, all or none.
 * @throws SyscallError; ENOSYS before Linux 5.12
 */
export function makeReadOnlyRecursively(target: string): void {
  mountSetattr(target, AT_RECURSIVE | AT_SYMLINK_NOFOLLOW, { set: MOUNT_ATTR_RDONLY });
}

/** Ends the sharing of the mount, and of those below it, with other mounts: what happens in one no longer shows in another. */
export function makePrivate(target: string): void {
  mountFileSystem({ source: 'none', target, flags: ['recursive', 'private'] });
}

/** Whether this kernel can make a tree of mounts read-only at once. */
export function supportsRecursiveReadOnly(): boolean {
  try {
    mountSetattr('', 0, { set: 0 });
    return true;
  } catch (error) {
    return (error as SyscallError).code !== 'ENOSYS' && (error as SyscallError).code !== 'EPERM';
  }
}

/** The id, as in mountinfo, of the mount that an open descriptor is on. */
export function mountIdOf(fd: number): number {
  return Number(/^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]);
}

/**
 * Whether something is mounted right there, also a bind mount of the file system around it. The path is compared with
 * the kernel's list, so it must be free of links; the place itself is not touched, since a dead server may be behind it.
 */
export function isMountPoint(path: string): boolean {
  return readMounts().some(({ target }) => target === path);
}

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/**
 * Unmounts; a path that is no mount point or no longer exists is already what the caller wants.
 * `lazy` takes it out of the tree at once, even while it is in use. Symbolic links are not followed.
 */
export function unmount(target: string, options: { lazy?: boolean } = {}): void {
  try {
    umount(target, UMOUNT_NOFOLLOW | (options.lazy ? MNT_DETACH : 0));
  } catch (error) {
    if (error instanceof SyscallError && (error.code === 'EINVAL' || error.code === 'ENOENT')) return;
    throw error;
  }
}
