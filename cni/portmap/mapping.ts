import { ipFamily } from '../../src/linux/ip.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { CNI_ERROR, CniError, type CniResult } from '../types.ts';

export interface PortMapping {
  hostPort: number;
  containerPort: number;
  protocol: 'tcp' | 'udp' | 'sctp';
  /** One address of the node; absent, empty, `0.0.0.0` or `::`: all of the family. */
  hostIP?: string;
}

/** One of `runtimeConfig.portMappings`. @throws CniError 7 naming what is wrong. */
export function parseMapping(value: unknown): PortMapping {
  const { hostPort, containerPort, protocol = 'tcp', hostIP } = (value ?? {}) as Partial<PortMapping>;
  const wrong = (what: string) =>
    new CniError(CNI_ERROR.invalidNetworkConfig, `portMappings: ${what} in ${JSON.stringify(value)}`);
  for (const [name, port] of Object.entries({ hostPort, containerPort }))
    if (!Number.isInteger(port) || port! < 1 || port! > 65535) throw wrong(`${name} must be 1 to 65535`);
  const name = String(protocol).toLowerCase();
  if (name !== 'tcp' && name !== 'udp' && name !== 'sctp') throw wrong(`protocol must be tcp, udp or sctp`);
  if (hostIP && familyIfAny(hostIP) === undefined) throw wrong('hostIP must be an IP address');
  return { hostPort: hostPort!, containerPort: containerPort!, protocol: name, ...(hostIP && { hostIP }) };
}

/** What one container's ports are mapped by. */
export interface PortmapConfig {
  /** The network's name. */
  network: string;
  mappings: readonly PortMapping[];
  /** The container's, where a DEL says them; without lengths. */
  addresses: readonly string[];
  /** Connections of the pod to itself, and of the node's 127.0.0.1, get the node's address as source. */
  snat: boolean;
  /** All mapped connections do: for networks whose answers do not pass the node (macvlan, ipvlan). */
  masqAll: boolean;
  /** undefined: iptables where the node has it, else nftables. */
  backend: 'iptables' | 'nftables' | undefined;
  /** The mark's bit by which iptables tells connections to masquerade: 0 to 31. */
  markBit: number;
  /** Of iptables: another program's chain that marks connections to masquerade, in place of ours. */
  setMarkChain: string | undefined;
  /** Further matches, in the backend's own words: only connections that they hold for are mapped. */
  conditions: Readonly<Record<IpFamily, readonly string[]>>;
}

/** A container's first address of a family. */
export interface PodAddress {
  family: IpFamily;
  address: string;
  /** With its prefix length, as the result has it. */
  cidr: string;
}

/** The addresses that ports are mapped to: the first of each family on the container's own interface. */
export function podAddresses({ ips, interfaces }: CniResult, ifname: string): PodAddress[] {
  const own = ips.filter(({ interface: index }) => {
    const link = index === undefined ? undefined : interfaces[index];
    return !link || (link.name === ifname && link.sandbox !== '');
  });
  return (['IPv4', 'IPv6'] as const).flatMap((family) => {
    const cidr = own.map(({ address }) => address).find((address) => address.includes(':') === (family === 'IPv6'));
    return cidr === undefined ? [] : [{ family, cidr, address: cidr.split('/')[0]! }];
  });
}

/** The mappings that concern an address family. */
export function mappingsOf(mappings: readonly PortMapping[], family: IpFamily): PortMapping[] {
  return mappings.filter(({ hostIP }) => !hostIP || familyIfAny(hostIP) === family);
}

/** The one address of the node that a mapping is for; undefined for all of them. */
export function onlyAddressOf({ hostIP }: PortMapping): string | undefined {
  return hostIP && !/^[0:.]+$/.test(hostIP) ? hostIP : undefined;
}

/**
 * Whether a mapping is for the node's own processes alone. The address does not say so by itself: destinations are translated before the
 * kernel drops what comes from a link and is for 127.0.0.0/8, so that a neighbour who sends there would get to the pod. (IPv6 drops it first.)
 */
export function isForLocalhost(mapping: PortMapping): boolean {
  return onlyAddressOf(mapping)?.startsWith('127.') === true;
}

function familyIfAny(address: string): IpFamily | undefined {
  try {
    return ipFamily(address) === 4 ? 'IPv4' : 'IPv6';
  } catch {
    return undefined;
  }
}
