import type { Pod } from '../../src/kube/types.ts';

/** Namespaced and harmless to neighbours: every pod may set them (sheet §10). */
const SAFE = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
]);

const IPC = ['kernel.shm', 'kernel.msg', 'kernel.sem', 'fs.mqueue.'];

/** `net/ipv4/x.y` and `net.ipv4.x/y` are two spellings; ours has the dots. */
export const dottedSysctl = (name: string): string => name.replaceAll('/', '.');

/** The namespace that a sysctl, or every one of a pattern with a trailing `*`, belongs to; undefined: the whole host's. */
export function sysctlNamespace(pattern: string): 'net' | 'ipc' | undefined {
  const name = dottedSysctl(pattern).replace(/\*$/, '');
  if (name.startsWith('net.')) return 'net';
  return IPC.some((prefix) => name.startsWith(prefix)) ? 'ipc' : undefined;
}

/** Why a pod may not have one of its sysctls, in upstream's words; undefined: it may. */
export function whyForbiddenSysctl(pod: Pod, allowedUnsafe: readonly string[]): string | undefined {
  const { hostNetwork, hostIPC, securityContext } = pod.spec;
  for (const { name } of securityContext?.sysctls ?? []) {
    const dotted = dottedSysctl(name);
    const listed = allowedUnsafe.map(dottedSysctl).some((pattern) => matches(dotted, pattern));
    const forbidden = (why: string) => `forbidden sysctl: "${name}" ${why}`;
    if (!listed && !SAFE.has(dotted)) return forbidden('not allowlisted');
    const namespace = sysctlNamespace(dotted);
    if (hostNetwork && namespace === 'net') return forbidden('not allowed with host net enabled');
    if (hostIPC && namespace === 'ipc') return forbidden('not allowed with host ipc enabled');
  }
  return undefined;
}

function matches(name: string, pattern: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}
