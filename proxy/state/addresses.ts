import ipaddr from 'ipaddr.js';
import type { IpFamily } from '../../src/netfilter/tables.ts';

const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = new RegExp(`^${OCTET}\\.${OCTET}\\.${OCTET}\\.${OCTET}$`);

/**
 * The address in the spelling that the kernel's tools print, when it is of this family; else undefined. A text that is spelled so already
 * comes back itself: a big cluster has 250,000 of them.
 */
export function addressOfFamily(text: string | undefined, family: IpFamily): string | undefined {
  if (typeof text !== 'string') return undefined;
  if (family === 'IPv4') return IPV4.test(text) ? text : undefined;
  if (!text.includes(':') || !ipaddr.IPv6.isValid(text)) return undefined;
  const canonical = ipaddr.IPv6.parse(text).toString();
  return canonical === text ? text : canonical;
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
/** First octets of which some addresses are special; all others are not worth a closer look. */
const isSpecialIpv4 = (first: number) => first === 0 || first === 127 || first === 169 || first >= 224;

/** Whether a pod can have the address. To translate to a loopback address would open what the node serves to itself only. */
export function isReachable(address: string): boolean {
  if (!address.includes(':') && !isSpecialIpv4(Number.parseInt(address, 10))) return true;
  return !UNREACHABLE.has(ipaddr.parse(address).range());
}
