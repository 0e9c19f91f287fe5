import type { NetworkConfiguration } from './network-configuration.ts';

/**
 * Which network pods get:
 *
 *     auto       a usable configuration in the directory; without one, the built-in network
 *     builtin    the built-in network, whatever the directory holds
 *     directory  as kubelet: the node is not ready until the directory holds a usable configuration
 */
export const CNI_MODES = ['auto', 'builtin', 'directory'] as const;
export type CniMode = (typeof CNI_MODES)[number];

/**
 * Whether a configuration is meant for this host's pods. Where a directory is shared with engines for single containers (podman,
 * nerdctl), their own networks lie there too; a list of nothing but loopback gives no address. `auto` passes over both: it has an
 * alternative, and nobody chose these for pods. Pure.
 */
export function isMeantForPods({ name, plugins, text }: NetworkConfiguration): boolean {
  if (plugins.every(({ type }) => type === 'loopback')) return false;
  const bridges = plugins.map(({ raw }) => String(raw['bridge'] ?? ''));
  const isPodman = name === 'podman' || bridges.some((bridge) => bridge.startsWith('cni-podman'));
  return !isPodman && !text.includes('"nerdctlID"');
}
