/** What a Service port asks the kernel for: packets for an address (or, for a node port, any of the node's) and a port. */
export interface Claim {
  /** `10.96.0.1/TCP/80`, `node/TCP/30080`. */
  readonly key: string;
  /** Order among those that ask for the same: less comes first. See `rankOf`. */
  readonly rank: string;
}

/** How strong a claim is by its kind: nobody's external address may take a cluster IP (CVE-2020-8554). */
export type ClaimKind = 'process' | 'clusterIP' | 'nodePort' | 'loadBalancer' | 'externalIP';
const KINDS: readonly ClaimKind[] = ['process', 'clusterIP', 'nodePort', 'loadBalancer', 'externalIP'];

/** Of equal kind the older Service wins; among those of one second the first by name, so that all nodes decide alike. */
export function rankOf(kind: ClaimKind, creationTimestamp: string, owner: string): string {
  return `${KINDS.indexOf(kind)} ${creationTimestamp} ${owner}`;
}

/**
 * Keeps apart what two Services ask for alike: left to the kernel, one would shadow the other, or the whole transaction would be refused.
 * Costs O(claims) of the Service that changes; a key that has one owner, as nearly all have, costs one map entry.
 */
export interface Claims {
  /** Replaces the claims of an owner. @returns other owners for whom the answer of `holder` may be another one now */
  set(owner: string, claims: readonly Claim[]): Set<string>;
  /** The owner that a key belongs to. */
  holder(key: string): string | undefined;
}

interface Entry {
  owner: string;
  rank: string;
}

export function createClaims(): Claims {
  /** First comes the one that holds it. */
  const byKey = new Map<string, Entry | Entry[]>();
  const byOwner = new Map<string, readonly Claim[]>();

  const entriesOf = (key: string): Entry[] => {
    const known = byKey.get(key);
    return known === undefined ? [] : Array.isArray(known) ? known : [known];
  };

  function store(key: string, entries: Entry[]): void {
    if (entries.length === 0) byKey.delete(key);
    else byKey.set(key, entries.length === 1 ? entries[0]! : entries);
  }

  return {
    set(owner, claims) {
      const affected = new Set<string>();
      const before = byOwner.get(owner) ?? [];
      if (isSame(before, claims)) return affected;
      for (const { key } of before) {
        const rest = entriesOf(key).filter((entry) => entry.owner !== owner);
        for (const entry of rest) affected.add(entry.owner);
        store(key, rest);
      }
      for (const { key, rank } of claims) {
        const all = entriesOf(key);
        for (const entry of all) affected.add(entry.owner);
        store(
          key,
          [...all, { owner, rank }].sort((a, b) => (a.rank < b.rank ? -1 : 1)),
        );
      }
      if (claims.length > 0) byOwner.set(owner, claims);
      else byOwner.delete(owner);
      affected.delete(owner);
      return affected;
    },
    holder: (key) => entriesOf(key)[0]?.owner,
  };
}

function isSame(a: readonly Claim[], b: readonly Claim[]): boolean {
  return a.length === b.length && a.every(({ key, rank }, index) => key === b[index]!.key && rank === b[index]!.rank);
}
