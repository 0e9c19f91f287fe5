import type { Pod } from '../../src/kube/types.ts';

/** Sysctls that are namespaced and harmless to neighbours (sheet §10). */
const SAFE_SYSCTLS = new Set([
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

export interface Refusal {
  reason: string;
  message: string;
}

function isAllowedSysctl(name: string, allowed: readonly string[]): boolean {
  return allowed.some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name));
}

/**
 * What the pod asks for and this agent cannot do yet: refused by name, since running it without would break what its
 * author relies on. undefined: nothing.
 */
export function refuseUnsupported(pod: Pod, options: { allowedUnsafeSysctls: readonly string[] }): Refusal | undefined {
  const { spec } = pod;
  for (const { name } of spec.securityContext?.sysctls ?? [])
    if (!SAFE_SYSCTLS.has(name) && !isAllowedSysctl(name, options.allowedUnsafeSysctls))
      return { reason: 'SysctlForbidden', message: `forbidden sysctl: "${name}" not allowlisted` };
  if (spec.os && spec.os.name !== 'linux')
    return { reason: 'PodOSNotSupported', message: `Failed to admit pod as the OS field doesn't match node OS` };
  const features: string[] = [];
  if (spec.hostUsers === false) features.push('spec.hostUsers: false (Docker has no per-container id mapping)');
  if (spec.runtimeClassName) features.push(`spec.runtimeClassName ${spec.runtimeClassName}`);
  if (spec.resourceClaims?.length) features.push('spec.resourceClaims');
  if (spec.securityContext?.supplementalGroupsPolicy === 'Strict')
    features.push('spec.securityContext.supplementalGroupsPolicy Strict');
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    if (container.volumeDevices?.length) features.push(`volumeDevices of container ${container.name}`);
    if (container.resources?.claims?.length) features.push(`resources.claims of container ${container.name}`);
  }
  if (features.length === 0) return undefined;
  return { reason: 'PodFeatureUnsupported', message: `not supported by this node yet: ${features.join('; ')}` };
}
