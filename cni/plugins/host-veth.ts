import { createHash } from 'node:crypto';
import { parseIp } from '../../src/linux/ip.ts';
import { formatMac } from '../../src/linux/netlink/links.ts';
import type { AttachmentKey } from '../types.ts';

/**
 * A pod's link is found again from the kernel alone: the host end has a name made from the attachment, and an alias
 * that says whose it is. So DEL needs neither a namespace nor a result cache, and a restart rediscovers all.
 */
export interface HostVethIdentity extends AttachmentKey {
  network: string;
  /** For people: `<namespace>/<name>`; empty when unknown. */
  pod: string;
}

/** `veth` and eight hex digits, always the same for one attachment of one network. */
export function hostVethName(network: string, key: AttachmentKey): string {
  const digest = createHash('sha256').update(`${network}\0${key.containerId}\0${key.ifname}`).digest('hex');
  return `veth${digest.slice(0, 8)}`;
}

const ALIAS_PREFIX = 'berth';

/** `berth:<network>:<containerID>:<ifname>:<namespace>/<name>`. The kernel may cut the end of a long one; the identity comes first. */
export function formatHostVethAlias(identity: HostVethIdentity): string {
  return [ALIAS_PREFIX, identity.network, identity.containerId, identity.ifname, identity.pod].join(':');
}

/** undefined when the alias is not one of ours. */
export function parseHostVethAlias(alias: string | undefined): HostVethIdentity | undefined {
  const [prefix, network, containerId, ifname, ...pod] = alias?.split(':') ?? [];
  if (prefix !== ALIAS_PREFIX || !network || !containerId || !ifname) return undefined;
  return { network, containerId, ifname, pod: pod.join(':') };
}

/**
 * `0a:58` and the IPv4 address. An address that moves to a new pod keeps its MAC, so that no neighbour's ARP entry is wrong.
 * undefined for IPv6, where the kernel chooses.
 */
export function macOfIp(ip: string): string | undefined {
  const bytes = parseIp(ip);
  return bytes.length === 4 ? formatMac(Uint8Array.of(0x0a, 0x58, ...bytes)) : undefined;
}
