import ipaddr from 'ipaddr.js';

/** An address with its prefix length, as in `10.244.1.5/24`. */
export interface IpPrefix {
  family: 4 | 6;
  /** 4 or 16 bytes, network order. */
  address: Uint8Array;
  prefixLength: number;
}

/** Whether the text is an IPv4 or IPv6 address in its usual form (`010.1` and the like are none). */
export function isIp(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || (text.includes(':') && ipaddr.IPv6.isValid(text));
}

/** @throws when the text is none. */
export function parseIp(text: string): Uint8Array {
  if (isIp(text)) return Uint8Array.from(ipaddr.parse(text).toByteArray());
  throw new Error(`${JSON.stringify(text)} is no IP address`);
}

/** The canonical text (RFC 5952 for IPv6). */
export function formatIp(address: Uint8Array): string {
  return ipaddr.fromByteArray([...address]).toString();
}

export function ipFamily(address: Uint8Array | string): 4 | 6 {
  return (typeof address === 'string' ? parseIp(address) : address).length === 4 ? 4 : 6;
}

/**
 * Parses `address/length`. Bits beyond the prefix are kept: `10.244.1.5/24` is an interface's address, `networkOf` gives its subnet.
 * @throws when the text is none.
 */
export function parsePrefix(text: string): IpPrefix {
  const slash = text.indexOf('/');
  const digits = text.slice(slash + 1);
  if (slash < 0 || !/^\d{1,3}$/.test(digits)) throw new Error(`${JSON.stringify(text)} is no CIDR (address/length)`);
  const address = parseIp(text.slice(0, slash));
  const prefixLength = Number(digits);
  if (prefixLength > address.length * 8)
    throw new Error(`${JSON.stringify(text)} is no CIDR: the length is at most ${address.length * 8}`);
  return { family: ipFamily(address), address, prefixLength };
}

export function formatPrefix(prefix: IpPrefix): string {
  return `${formatIp(prefix.address)}/${prefix.prefixLength}`;
}

/** The prefix with all bits beyond its length cleared. */
export function networkOf(prefix: IpPrefix): IpPrefix {
  const value = toBigInt(prefix.address);
  const hostBits = BigInt(prefix.address.length * 8 - prefix.prefixLength);
  return { ...prefix, address: fromBigInt((value >> hostBits) << hostBits, prefix.family) };
}

/** The last address of the prefix: the broadcast address of an IPv4 subnet. */
export function lastAddressOf(prefix: IpPrefix): Uint8Array {
  const hostBits = BigInt(prefix.address.length * 8 - prefix.prefixLength);
  return fromBigInt(toBigInt(prefix.address) | ((1n << hostBits) - 1n), prefix.family);
}

/** Whether `inner` (an address or a smaller prefix) lies within `outer`. */
export function prefixContains(outer: IpPrefix, inner: IpPrefix | Uint8Array): boolean {
  const address = inner instanceof Uint8Array ? inner : inner.address;
  const length = inner instanceof Uint8Array ? inner.length * 8 : inner.prefixLength;
  if (address.length !== outer.address.length || length < outer.prefixLength) return false;
  const hostBits = BigInt(address.length * 8 - outer.prefixLength);
  return toBigInt(address) >> hostBits === toBigInt(outer.address) >> hostBits;
}

export function prefixesOverlap(one: IpPrefix, other: IpPrefix): boolean {
  return prefixContains(one, other) || prefixContains(other, one);
}

export function toBigInt(address: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(address).toString('hex')}`);
}

export function fromBigInt(value: bigint, family: 4 | 6): Uint8Array {
  const bytes = family === 4 ? 4 : 16;
  return Uint8Array.from(Buffer.from(value.toString(16).padStart(bytes * 2, '0'), 'hex'));
}
