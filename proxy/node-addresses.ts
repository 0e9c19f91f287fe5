import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { inNetns } from '../src/linux/netns.ts';
import type { IpFamily } from '../src/netfilter/tables.ts';
import { addressOfFamily, cidrContains, cidrOfFamily } from './state/addresses.ts';

/** Addresses by interface name, as node:os gives them. */
export type LocalInterfaces = NodeJS.Dict<Pick<NetworkInterfaceInfo, 'address' | 'family'>[]>;

/** The interfaces of a namespace (default: the process's own), those without an address left out. */
export function readLocalInterfaces(netns?: string): LocalInterfaces {
  return inNetns<LocalInterfaces>(netns, networkInterfaces);
}

/** Every address of the interfaces, without the scopes of link-local ones. */
export function addressesOf(interfaces: LocalInterfaces): string[] {
  return Object.values(interfaces).flatMap((ones) => (ones ?? []).map(({ address }) => address.replace(/%.*/, '')));
}

export interface NodePortTargets {
  /** The addresses that take NodePort traffic, sorted; undefined means every local one. */
  addresses?: readonly string[];
  /** Whether 127/8 is among them. */
  takesLoopback: boolean;
}

/**
 * `nodePortAddresses` of the configuration as addresses of one family: CIDRs pick from the interfaces' addresses,
 * `primary` means the node's own; nothing for the family means all.
 */
export function resolveNodePortTargets(
  nodePortAddresses: readonly string[],
  family: IpFamily,
  nodeIps: readonly string[],
  interfaces: () => LocalInterfaces = networkInterfaces,
): NodePortTargets {
  if (nodePortAddresses[0] === 'primary')
    return { addresses: nodeIps.flatMap((ip) => addressOfFamily(ip, family) ?? []), takesLoopback: false };
  const cidrs = nodePortAddresses.flatMap((cidr) => cidrOfFamily(cidr, family) ?? []);
  if (cidrs.length === 0 || cidrs.some((cidr) => cidr.endsWith('/0'))) return { takesLoopback: true };
  const local = addressesOf(interfaces()).flatMap((address) => addressOfFamily(address, family) ?? []);
  const addresses = [...new Set(local)].filter((address) => cidrs.some((cidr) => cidrContains(cidr, address))).sort();
  return { addresses, takesLoopback: family === 'IPv4' && cidrs.some((cidr) => cidrContains(cidr, '127.0.0.1')) };
}
