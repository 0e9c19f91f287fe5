import ipaddr from 'ipaddr.js';
import type { IpFamily } from '../../src/netfilter/tables.ts';

/** The address in the spelling that the kernel's tools print, when it is of this family; else undefined. */
export function addressOfFamily(text: string | undefined, family: IpFamily): string | undefined {
  const kind = family === 'IPv4' ? ipaddr.IPv4 : ipaddr.IPv6;
  if (!text || !(family === 'IPv4' ? ipaddr.IPv4.isValidFourPartDecimal(text) : kind.isValid(text))) return undefined;
  return kind.parse(text).toString();
}

/** `10.0.0.7/8` → `10.0.0.0/8`, when it is a block of this family; else undefined. */
export function cidrOfFamily(text: string, family: IpFamily): string | undefined {
  const trimmed = text.trim();
  const kind = family === 'IPv4' ? ipaddr.IPv4 : ipaddr.IPv6;
  if (!kind.isValidCIDR(trimmed)) return undefined;
  const [, bits] = kind.parseCIDR(trimmed);
  return `${kind.networkAddressFromCIDR(trimmed).toString()}/${bits}`;
}

/** Whether a block holds an address; false when they are of different families. */
export function cidrContains(cidr: string, address: string): boolean {
  const range = ipaddr.parseCIDR(cidr);
  const ip = ipaddr.parse(address);
  return ip.kind() === range[0].kind() && ip.match(range);
}

/** `10.0.0.1:80`, `[fd00::1]:80`. */
export function joinHostPort(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

export function isLoopback(address: string): boolean {
  return ipaddr.parse(address).range() === 'loopback';
}

const UNREACHABLE = new Set(['unspecified', 'loopback', 'linkLocal', 'multicast', 'broadcast']);

/** Whether a pod can have the address. To translate to a loopback address would open what the node serves to itself only. */
export function isReachable(address: string): boolean {
  return !UNREACHABLE.has(ipaddr.parse(address).range());
}
