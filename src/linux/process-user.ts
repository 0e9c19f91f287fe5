import { readFile } from 'node:fs/promises';

/** Who a process is, in the numbers of this user namespace. */
export interface ProcessUser {
  uid: number;
  gid: number;
  supplementalGroups: number[];
}

/**
 * The user of a process, if it belongs to the cgroup of that name (a part of its path, such as a container's id): a pid alone may be another
 * process by now. undefined when it is not there any more.
 */
export async function readProcessUser(
  pid: number,
  cgroup: string,
  procRoot = '/proc',
): Promise<ProcessUser | undefined> {
  const read = (file: string) => readFile(`${procRoot}/${pid}/${file}`, 'utf8').catch(() => '');
  const [status, path] = await Promise.all([read('status'), read('cgroup')]);
  return path.includes(cgroup) ? parseProcessUser(status) : undefined;
}

/** `Uid:`, `Gid:` (real, effective, saved, file system) and `Groups:` of `/proc/<pid>/status`. */
export function parseProcessUser(status: string): ProcessUser | undefined {
  const numbers = (field: string) =>
    new RegExp(`^${field}:(.*)$`, 'm').exec(status)?.[1]?.split(/\s+/).filter(Boolean).map(Number);
  const [uid] = numbers('Uid') ?? [];
  const [gid] = numbers('Gid') ?? [];
  if (uid === undefined || gid === undefined) return undefined;
  return { uid, gid, supplementalGroups: [...new Set(numbers('Groups') ?? [])].sort((a, b) => a - b) };
}
