import ipaddr from 'ipaddr.js';

/** A network split into equal blocks, such as a cluster CIDR into pod CIDRs. */
export interface CidrSet {
  /** How many blocks there are. */
  readonly size: number;
  /** The numbers of the blocks that a CIDR of whatever size overlaps, first and last; undefined when none. */
  overlap(cidr: string): { first: number; last: number } | undefined;
  /** The CIDR of a block: '10.244.3.0/24'. */
  at(index: number): string;
}

/** Splits `cidr` into blocks with `blockPrefix`; IPv4 and IPv6. Throws when either makes no sense. */
export function createCidrSet(cidr: string, blockPrefix: number): CidrSet {
  if (!ipaddr.isValidCIDR(cidr))
    throw new Error(`cluster CIDR ${JSON.stringify(cidr)} is not a CIDR such as 10.244.0.0/16`);
  const [address, prefix] = ipaddr.parseCIDR(cidr);
  const bits = address.kind() === 'ipv4' ? 32 : 128;
  if (blockPrefix < prefix || blockPrefix > bits)
    throw new Error(
      `node mask /${blockPrefix} does not fit into the cluster CIDR ${cidr}: it must be /${prefix} to /${bits}`,
    );
  if (blockPrefix - prefix > 16)
    throw new Error(`${cidr} has more than 65536 blocks of /${blockPrefix}: use a longer prefix`);
  const shift = BigInt(bits - blockPrefix);
  const first = (toNumber(address.toByteArray()) >> BigInt(bits - prefix)) << BigInt(bits - prefix);
  const size = 2 ** (blockPrefix - prefix);
  return {
    size,
    overlap(other) {
      if (!ipaddr.isValidCIDR(other)) return undefined;
      const [start, length] = ipaddr.parseCIDR(other);
      if (start.kind() !== address.kind()) return undefined;
      const hostBits = BigInt(bits - length);
      const from = (toNumber(start.toByteArray()) >> hostBits) << hostBits;
      const to = from + (1n << hostBits) - 1n;
      const low = (from - first) >> shift;
      const high = (to - first) >> shift;
      if (high < 0n || low >= BigInt(size)) return undefined;
      return { first: Math.max(0, Number(low)), last: Math.min(size - 1, Number(high)) };
    },
    at(index) {
      const bytes = toBytes(first + (BigInt(index) << shift), bits / 8);
      return `${ipaddr.fromByteArray(bytes).toString()}/${blockPrefix}`;
    },
  };
}

function toNumber(bytes: number[]): bigint {
  return bytes.reduce((number, byte) => (number << 8n) | BigInt(byte), 0n);
}

function toBytes(number: bigint, length: number): number[] {
  return Array.from({ length }, (_, index) => Number((number >> BigInt(8 * (length - 1 - index))) & 0xffn));
}
