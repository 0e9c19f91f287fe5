import { readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { sysctlPath } from '../../src/linux/sysctl.ts';
import { CNI_ERROR, CniError } from '../types.ts';

export const ALLOWLIST_FILE = '/etc/cni/tuning/allowlist.conf';

const PLACEHOLDER = 'IFNAME';

/**
 * The file below /proc/sys that a key means for an interface, with slashes: dots separate, unless a slash comes first (sysctl(8)); the
 * first `IFNAME` is the interface's name, dots and all. Pure.
 * @throws CniError 7 for what is not of the network.
 */
export function netSysctl(key: string, ifname: string): string {
  const path = posix.normalize(
    sysctlPath(key, '')
      .slice(1)
      .replace(PLACEHOLDER, () => ifname),
  );
  // What is allowed is told by the key as it is written: it may not lead back out of where it seems to be.
  if (!path.startsWith('net/') || key.split('/').includes('..'))
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `invalid net sysctl key: ${JSON.stringify(key)}`, {
      details: 'only keys below net. belong to a container',
    });
  return path;
}

/** @throws CniError 7 for two keys that mean the same file: which of the values is meant nobody can tell. */
export function netSysctls(sysctls: Readonly<Record<string, string>>, ifname: string): Map<string, string> {
  const byPath = new Map<string, string>();
  for (const [key, value] of Object.entries(sysctls)) {
    const path = netSysctl(key, ifname);
    if (byPath.has(path))
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `duplicated sysctl keys are not allowed: ${key}`);
    byPath.set(path, value);
  }
  return byPath;
}

/**
 * Refuses keys that the host's administrator has not allowed: a file of patterns, one a line, each found anywhere in a key. Without the
 * file all are allowed.
 * @throws CniError 7 naming key or pattern.
 */
export function checkAllowlist(keys: readonly string[], file: string): void {
  const patterns = readPatterns(file);
  if (patterns === undefined) return;
  for (const key of keys)
    if (!patterns.some((pattern) => pattern.test(key)))
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `Sysctl ${key} is not allowed`, {
        details: `${file} allows only ${patterns.map(({ source }) => source).join(' ')}`,
      });
}

function readPatterns(file: string): RegExp[] | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter(Boolean).map((line) => {
    try {
      return new RegExp(line);
    } catch (cause) {
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `${file}: ${JSON.stringify(line)} is no regular expression`, {
        cause,
      });
    }
  });
}

/** The kernel puts tabs between numbers where people write blanks. */
export function sameSysctlValue(one: string | undefined, other: string): boolean {
  return one?.trim().replaceAll(/\s+/g, ' ') === other.trim().replaceAll(/\s+/g, ' ');
}
