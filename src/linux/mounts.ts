import { readFileSync } from 'node:fs';
import { mount, SyscallError, umount } from './libc.ts';

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
