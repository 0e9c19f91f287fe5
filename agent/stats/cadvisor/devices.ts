import { stat } from 'node:fs/promises';
import type { DeviceIo } from '../../../src/linux/cgroup/stat-text.ts';
import { readMounts } from '../../../src/linux/mounts.ts';
import { readKernelFile } from '../../../src/linux/open-files.ts';
import type { Clock } from '../../../src/runtime/clock.ts';

const REREAD_MS = 60_000;
/** The kernel's unit in /proc/diskstats, whatever the disk's own. */
const SECTOR_BYTES = 512;

/** `sda1`, `vda15`, `nvme0n1p2`, `mmcblk0p1`: what they do is in the figures of their disk. */
const PARTITION = /^([shv]d|xvd)[a-z]+\d+$|^(nvme\d+n\d+|mmcblk\d+)p\d+$/;

/** Block devices of this host. */
export interface Disks {
  /** `/dev/vda` of `254:0`; the numbers themselves when nothing is known by them. */
  name(number: string): string;
  /** What whole disks have read and written since the host was started, by their numbers. */
  io(): Map<string, DeviceIo>;
}

export function createDisks({ clock, path }: { clock: Clock; path: string }): Disks {
  let names = new Map<string, string>();
  let readMs: number | undefined;
  const read = () => {
    const found = parseDiskStats(readKernelFile(path) ?? '');
    names = found.names;
    readMs = clock.monotonicMs();
    return found.io;
  };
  return {
    name(number) {
      // A disk may have been plugged in; a number without a name is not asked for again and again.
      if (!names.has(number) && (readMs === undefined || clock.monotonicMs() - readMs >= REREAD_MS)) read();
      return names.get(number) ?? number;
    },
    io: read,
  };
}

/** `254 0 vda reads merged sectors ms writes merged sectors ms …`. Partitions and what has never done anything are named only. Pure. */
export function parseDiskStats(text: string): { names: Map<string, string>; io: Map<string, DeviceIo> } {
  const names = new Map<string, string>();
  const io = new Map<string, DeviceIo>();
  for (const line of text.split('\n')) {
    const [major, minor, name, reads, , readSectors, , writes, , writeSectors] = line.trim().split(/ +/);
    if (name === undefined) continue;
    const number = `${major}:${minor}`;
    names.set(number, `/dev/${name}`);
    if (PARTITION.test(name) || (Number(reads) === 0 && Number(writes) === 0)) continue;
    io.set(number, {
      readBytes: Number(readSectors) * SECTOR_BYTES,
      writeBytes: Number(writeSectors) * SECTOR_BYTES,
      reads: Number(reads),
      writes: Number(writes),
    });
  }
  return { names, io };
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
