/** What the kernel writes into a cgroup's statistics files, as numbers. Pure; for cgroup v1 and v2. */

/** Pressure stall information of one resource. */
export interface Pressure {
  full: PressureLine;
  some: PressureLine;
}

export interface PressureLine {
  /** Microseconds that tasks have waited, since the cgroup was made. */
  total: number;
  /** Percent of the last 10, 60, 300 s. */
  avg10: number;
  avg60: number;
  avg300: number;
}

/** Reads and writes of one block device. */
export interface DeviceIo {
  readBytes: number;
  writeBytes: number;
  reads: number;
  writes: number;
}

const ZERO = 48;
const NINE = 57;

/** Unsigned decimal at `at`; undefined when no digit stands there (`max`). */
export function numberAt(text: string, at: number): number | undefined {
  let code = text.charCodeAt(at);
  if (!(code >= ZERO && code <= NINE)) return undefined;
  let value = 0;
  for (let index = at; code >= ZERO && code <= NINE; code = text.charCodeAt(++index)) value = value * 10 + code - ZERO;
  return value;
}

/**
 * Value of a key in a file of `key value` lines. The text must begin with a newline, so that every key is found as `\nkey `;
 * searching for the few that are needed costs a fraction of taking the lines apart.
 */
export function keyedNumber(text: string, key: string): number | undefined {
  const at = text.indexOf(`\n${key} `);
  return at < 0 ? undefined : numberAt(text, at + key.length + 2);
}

/** Of another unit; what is not known stays so. */
export function times(value: number | undefined, factor: number): number | undefined {
  return value === undefined ? undefined : value * factor;
}

/** The kernel's word for "no limit" is a number near 2⁶³ on v1 (cut to pages), `max` on v2. */
const UNLIMITED = 2 ** 62;

export function limitAt(text: string, at = 0): number | undefined {
  const value = numberAt(text, at);
  return value === undefined || value >= UNLIMITED ? undefined : value;
}

/** `cpu.max`: `quota period` or `max period`; microseconds. */
export function parseCpuMax(text: string): { quotaUs: number | undefined; periodUs: number | undefined } {
  const [quota = '', period = ''] = text.trim().split(' ');
  return { quotaUs: numberAt(quota, 0), periodUs: numberAt(period, 0) };
}

/** `cpu.pressure` and its like. The kernel leaves `full` out for CPU before 5.13. undefined: there is no line `some`. */
export function parsePressure(text: string): Pressure | undefined {
  const some = pressureLine(text, 'some ');
  if (!some) return undefined;
  return { some, full: pressureLine(text, 'full ') ?? { total: 0, avg10: 0, avg60: 0, avg300: 0 } };
}

function pressureLine(text: string, start: string): PressureLine | undefined {
  const at = text.indexOf(start);
  if (at < 0) return undefined;
  const field = (name: string) => {
    const found = text.indexOf(name, at);
    return found < 0 ? 0 : Number.parseFloat(text.slice(found + name.length, found + name.length + 24));
  };
  return { total: field('total='), avg10: field('avg10='), avg60: field('avg60='), avg300: field('avg300=') };
}

/** v2 `io.stat`: `8:0 rbytes=… wbytes=… rios=… wios=… …`. Devices without any figure are left out. */
export function parseIoStat(text: string): Map<string, DeviceIo> {
  const devices = new Map<string, DeviceIo>();
  for (const line of text.split('\n')) {
    const end = line.indexOf(' ');
    if (end < 0 || !line.includes('=', end)) continue;
    const field = (name: string) => {
      const at = line.indexOf(name, end);
      return at < 0 ? 0 : (numberAt(line, at + name.length) ?? 0);
    };
    devices.set(line.slice(0, end), {
      readBytes: field(' rbytes='),
      writeBytes: field(' wbytes='),
      reads: field(' rios='),
      writes: field(' wios='),
    });
  }
  return devices;
}

/** v1 `blkio.*.io_service_bytes_recursive` and `…io_serviced_recursive`: lines `8:0 Read 4096`, and a `Total` at the end. */
export function parseBlkio(bytes: string, operations: string): Map<string, DeviceIo> {
  const devices = new Map<string, DeviceIo>();
  const take = (text: string, read: 'readBytes' | 'reads', write: 'writeBytes' | 'writes') => {
    for (const line of text.split('\n')) {
      const [device, operation, value] = line.split(' ');
      if (value === undefined || (operation !== 'Read' && operation !== 'Write')) continue;
      const known = devices.get(device!) ?? { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 };
      devices.set(device!, known);
      known[operation === 'Read' ? read : write] = Number(value);
    }
  };
  take(bytes, 'readBytes', 'writeBytes');
  take(operations, 'reads', 'writes');
  return devices;
}

/** Parts of a cgroup's memory (with all below it), by the names that cAdvisor has given them; bytes. */
export interface MemoryDetail {
  cacheBytes: number | undefined;
  mappedFileBytes: number | undefined;
  activeFileBytes: number | undefined;
  inactiveFileBytes: number | undefined;
}

const DETAIL_KEYS: Record<keyof MemoryDetail, readonly [v1: string, v2: string]> = {
  cacheBytes: ['total_cache', 'file'],
  mappedFileBytes: ['total_mapped_file', 'file_mapped'],
  activeFileBytes: ['total_active_file', 'active_file'],
  inactiveFileBytes: ['total_inactive_file', 'inactive_file'],
};

/** @param stat `memory.stat` after a newline. */
export function parseMemoryDetail(version: 1 | 2, stat: string): MemoryDetail {
  const at = version - 1;
  const value = (field: keyof MemoryDetail) => keyedNumber(stat, DETAIL_KEYS[field][at]!);
  return {
    cacheBytes: value('cacheBytes'),
    mappedFileBytes: value('mappedFileBytes'),
    activeFileBytes: value('activeFileBytes'),
    inactiveFileBytes: value('inactiveFileBytes'),
  };
}
