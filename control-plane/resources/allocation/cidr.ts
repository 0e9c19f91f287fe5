import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** A block of addresses as numbers: the network address plus an offset. */
export interface AddressBlock {
  readonly family: 'IPv4' | 'IPv6';
  /** As it was given: `10.96.0.0/12`. */
  readonly cidr: string;
  /** Addresses in it, network and broadcast included; larger blocks count as 2⁴⁸: they never fill up. */
  readonly size: number;
  /** The address at an offset; 0 is the network address. */
  at(offset: number): string;
  /** The offset of an address, or undefined outside of the block. */
  offsetOf(address: string): number | undefined;
}

const LARGEST = 2 ** 48;

/** Throws when the text is no CIDR. */
export function parseBlock(cidr: string): AddressBlock {
  if (!ipaddr.isValidCIDR(cidr))
    throw new Error(`${JSON.stringify(cidr)} is not a CIDR: an address and a prefix length are needed, 10.96.0.0/12`);
  const [address, bits] = ipaddr.parseCIDR(cidr);
  const family = address.kind() === 'ipv4' ? 'IPv4' : 'IPv6';
  const width = family === 'IPv4' ? 32 : 128;
  const hostBits = BigInt(width - bits);
  const base = (toNumber(address.toByteArray()) >> hostBits) << hostBits;
  const total = 1n << hostBits;
  return {
    family,
    cidr,
    size: total > BigInt(LARGEST) ? LARGEST : Number(total),
    at: (offset) => ipaddr.fromByteArray(toBytes(base + BigInt(offset), width / 8)).toString(),
    offsetOf(text) {
      if (family === 'IPv4' ? !isIPv4(text) : !isIPv6(text)) return undefined;
      const offset = toNumber(ipaddr.parse(text).toByteArray()) - base;
      return offset >= 0n && offset < total && offset < BigInt(LARGEST) ? Number(offset) : undefined;
    },
  };
}

const toNumber = (bytes: readonly number[]) => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

function toBytes(value: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, index) => Number((value >> BigInt(8 * (count - 1 - index))) & 0xffn));
}
