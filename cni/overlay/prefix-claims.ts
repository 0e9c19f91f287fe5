import { formatPrefix, type IpPrefix, toBigInt } from '../../src/linux/ip.ts';

interface Claim {
  owner: string;
  prefix: IpPrefix;
}

/** Prefixes with owners, of which no two may overlap. */
export interface PrefixClaims {
  /** Another owner's claim that overlaps with the prefix. */
  clashOf(owner: string, prefix: IpPrefix): Claim | undefined;
  add(owner: string, prefix: IpPrefix): void;
  remove(owner: string, prefix: IpPrefix): void;
}

/**
 * Prefixes overlap only when one holds the other. So a look-up for each length that is in use finds what holds a prefix; what lies within
 * it is looked for among the longer ones alone. All nodes of a cluster have pod CIDRs of one length: one look-up, whatever their number.
 */
export function createPrefixClaims(): PrefixClaims {
  /** By family and length, then by the network's bits. */
  const byLength = new Map<string, { family: 4 | 6; length: number; claims: Map<bigint, Claim> }>();

  const bitsOf = ({ address }: IpPrefix, length: number) => toBigInt(address) >> BigInt(address.length * 8 - length);

  return {
    clashOf(owner, prefix) {
      for (const { family, length, claims } of byLength.values()) {
        if (family !== prefix.family) continue;
        if (length <= prefix.prefixLength) {
          const holder = claims.get(bitsOf(prefix, length));
          if (holder && holder.owner !== owner) return holder;
          continue;
        }
        const bits = bitsOf(prefix, prefix.prefixLength);
        for (const claim of claims.values())
          if (claim.owner !== owner && bitsOf(claim.prefix, prefix.prefixLength) === bits) return claim;
      }
      return undefined;
    },
    add(owner, prefix) {
      const key = `${prefix.family} ${prefix.prefixLength}`;
      if (!byLength.has(key))
        byLength.set(key, { family: prefix.family, length: prefix.prefixLength, claims: new Map() });
      byLength.get(key)!.claims.set(bitsOf(prefix, prefix.prefixLength), { owner, prefix });
    },
    remove(owner, prefix) {
      const key = `${prefix.family} ${prefix.prefixLength}`;
      const claims = byLength.get(key)?.claims;
      const bits = bitsOf(prefix, prefix.prefixLength);
      if (claims?.get(bits)?.owner === owner) claims.delete(bits);
      if (claims?.size === 0) byLength.delete(key);
    },
  };
}

/** For messages: `10.244.2.0/24 of node b`. */
export function describeClash(own: string, { owner, prefix }: Claim): string {
  return `its pod CIDR ${own} clashes with ${formatPrefix(prefix)} of ${owner}`;
}
