import { mkdir, rmdir } from 'node:fs/promises';
import type { NFSVolumeSource } from '../../../src/kube/types.ts';
import { hasProgram, run } from '../../../src/linux/exec.ts';
import { readMounts } from '../../../src/linux/mounts.ts';

export const NFS_PLUGIN = 'kubernetes.io/nfs';

const MOUNT_TIMEOUT_MS = 110_000;
const UNMOUNT_TIMEOUT_MS = 30_000;

/** Seen in the mount table: a look at the directory itself may hang for as long as the server does. */
const isMounted = (path: string) => readMounts().some(({ target }) => target === path);

/** What mount(8) is told; IPv6 addresses go in brackets, as mount.nfs wants them. Pure. */
export function nfsMountArguments(
  { server, path, readOnly }: NFSVolumeSource,
  options: readonly string[],
  target: string,
): string[] {
  const host = server.includes(':') && !server.startsWith('[') ? `[${server}]` : server;
  const all = [...options, ...(readOnly ? ['ro'] : [])];
  return ['-t', 'nfs', ...(all.length > 0 ? ['-o', all.join(',')] : []), `${host}:${path}`, target];
}

/** Mounts an export into the pod's directory, by the system's own program. Idempotent. */
export async function ensureNfsMount(
  source: NFSVolumeSource,
  options: readonly string[],
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  if (isMounted(target)) return;
  if (!hasProgram('mount.nfs'))
    throw new Error(
      `NFS volumes need mount.nfs, which this node does not have: install the package nfs-common (Debian, Ubuntu) or nfs-utils (Fedora, RHEL)`,
    );
  await mkdir(target, { recursive: true, mode: 0o750 });
  const args = nfsMountArguments(source, options, target);
  try {
    await run('mount', args, { timeoutMs: MOUNT_TIMEOUT_MS, ...(signal && { signal }) });
  } catch (error) {
    if (!isMounted(target)) await rmdir(target).catch(() => {});
    throw error;
  }
}

/** Unmounts; by a program that can be killed when the server does not answer, and then by force. */
export async function removeNfsMount(target: string): Promise<void> {
  if (!isMounted(target)) return;
  try {
    await run('umount', [target], { timeoutMs: UNMOUNT_TIMEOUT_MS });
  } catch (error) {
    if (!isMounted(target)) return;
    await run('umount', ['-f', '-l', target], { timeoutMs: UNMOUNT_TIMEOUT_MS }).catch(() => {
      throw error;
    });
  }
}
