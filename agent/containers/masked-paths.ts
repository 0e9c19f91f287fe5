import { existsSync, readdirSync } from 'node:fs';

/**
 * What containers must not see or change of /proc and /sys: upstream's list, given in full since Engines differ in theirs
 * (20.10 shows /proc/interrupts and the power readings, which tell keystrokes and keys).
 */
const MASKED = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
export const READ_ONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

const CPUS = '/sys/devices/system/cpu';

/** The masked paths of this host; those of its processors are looked for once. */
export const MASKED_PATHS: readonly string[] = [...MASKED, ...thermalPaths()];

function thermalPaths(): string[] {
  if (!existsSync(CPUS)) return [];
  return readdirSync(CPUS)
    .filter((name) => /^cpu\d+$/.test(name))
    .map((name) => `${CPUS}/${name}/thermal_throttle`)
    .filter(existsSync);
}
