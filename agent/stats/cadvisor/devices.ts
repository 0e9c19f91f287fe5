import { stat } from 'node:fs/promises';
import { readMounts } from '../../../src/linux/mounts.ts';
import { readKernelFile } from '../../../src/linux/open-files.ts';
import type { Clock } from '../../../src/runtime/clock.ts';

const REREAD_MS = 60_000;

/** Names of block devices by their numbers: `254:0` is `/dev/vda`. */
export function createDeviceNames({ clock, path = '/proc/diskstats' }: { clock: Clock; path?: string }) {
  let names = new Map<string, string>();
  let readMs: number | undefined;
  return (number: string): string => {
    const known = names.get(number);
    if (known !== undefined) return known;
    const nowMs = clock.monotonicMs();
    // A disk may have been plugged in; a number without a name is not asked for again and again.
    if (readMs === undefined || nowMs - readMs >= REREAD_MS) {
      names = parseDiskStats(readKernelFile(path) ?? '');
      readMs = nowMs;
    }
    return names.get(number) ?? number;
  };
}

/** `254 0 vda 1 2 3 …`. Pure. */
export function parseDiskStats(text: string): Map<string, string> {
  const names = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [major, minor, name] = line.trim().split(/ +/);
    if (name !== undefined) names.set(`${major}:${minor}`, `/dev/${name}`);
  }
  return names;
}

/** What the file system of a path was mounted from (`/dev/vda`, `overlay`, `tmpfs`); '' when that is not to be found out. */
export async function deviceOf(path: string): Promise<string> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  if (!found) return '';
  // The kernel's own packing of device numbers (makedev(3)).
  const major = ((found.dev >> 8n) & 0xfffn) | ((found.dev >> 32n) & ~0xfffn);
  const minor = (found.dev & 0xffn) | ((found.dev >> 12n) & ~0xffn);
  return readMounts().find(({ device }) => device === `${major}:${minor}`)?.source ?? '';
}
