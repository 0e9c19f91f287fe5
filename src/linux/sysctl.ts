import { readFileSync, writeFileSync } from 'node:fs';
import { inNetns } from './netns.ts';

export interface SysctlOptions {
  /** Path of the network namespace whose `net.*` is meant. Default: the process's own. */
  netns?: string;
  /** Where the tree is mounted. Default /proc/sys. */
  root?: string;
}

/**
 * `net.ipv4.ip_forward` → `/proc/sys/net/ipv4/ip_forward`. As in sysctl(8), a `/` in the key separates when it is the first separator;
 * then dots stay (`net/ipv4/conf/eth0.100/rp_filter`).
 */
export function sysctlPath(key: string, root = '/proc/sys'): string {
  const slash = key.indexOf('/');
  const dot = key.indexOf('.');
  const relative = slash >= 0 && (dot < 0 || slash < dot) ? key : key.replaceAll('.', '/');
  return `${root}/${relative}`;
}

/** The value without its newline; undefined when the kernel has no such key (module not loaded, feature not built). */
export function readSysctl(key: string, options: SysctlOptions = {}): string | undefined {
  return inNetns(options.netns, () => {
    try {
      return readFileSync(sysctlPath(key, options.root), 'utf8').trimEnd();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  });
}

/**
 * Writes only what differs, so that equal input causes no write.
 * @returns the value before, when it was another one.
 * @throws ENOENT when the kernel has no such key, EINVAL when it refuses the value.
 */
export function writeSysctl(key: string, value: string, options: SysctlOptions = {}): { previous: string } | undefined {
  return inNetns(options.netns, () => {
    const path = sysctlPath(key, options.root);
    const previous = readFileSync(path, 'utf8').trimEnd();
    if (previous === value) return undefined;
    writeFileSync(path, value);
    return { previous };
  });
}
