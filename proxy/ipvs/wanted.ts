import type { VirtualServerId } from '../../src/netfilter/ipvs-messages.ts';
import type { IpvsServiceRules, WantedServer } from './service-rules.ts';
import { SET_KEYS, type SetKey } from './sets.ts';

/** `TCP/10.96.0.1:80`, `UDP/[fd00::1]:53`. */
export function serverKey({ protocol, address, port }: VirtualServerId): string {
  return `${protocol}/${address.includes(':') ? `[${address}]` : address}:${port}`;
}

/** Everything that may differ since some moment, each with what was wanted then. */
export interface WantedChanges {
  readonly servers: Map<string, WantedServer | undefined>;
  readonly addresses: Map<string, boolean>;
  readonly elements: Map<SetKey, Map<string, boolean>>;
}

export function noChanges(): WantedChanges {
  return { servers: new Map(), addresses: new Map(), elements: new Map() };
}

/**
 * What all Services together want in the kernel. Several may want the same address, element or virtual server: it stays while one of
 * them does. A virtual server that two claim is that of the Service whose name comes first.
 */
export interface Wanted {
  /** Puts a Service's rules in the place of those that it had; O(its own size). `changes` learns what was before. */
  replace(service: string, rules: IpvsServiceRules | undefined, changes?: WantedChanges): void;
  server(key: string): WantedServer | undefined;
  servers(): Iterable<[string, WantedServer]>;
  serverCount(): number;
  hasAddress(address: string): boolean;
  addresses(): ReadonlyMap<string, number>;
  elements(set: SetKey): ReadonlyMap<string, number>;
  /** Rules of KUBE-IPVS-OUT-FILTER, in order of the Services' names. */
  outFilter(): string[];
  withoutLocalEndpoints(): { internal: number; external: number };
  /** Virtual servers that more than one Service claims: key, then the Services' names. */
  contested(): ReadonlyMap<string, readonly string[]>;
}

interface Claim {
  service: string;
  wanted: WantedServer;
}

export function createWanted(): Wanted {
  const services = new Map<string, IpvsServiceRules>();
  const claims = new Map<string, Claim[]>();
  const contested = new Map<string, string[]>();
  const addresses = new Map<string, number>();
  const elements = new Map<SetKey, Map<string, number>>(SET_KEYS.map((key) => [key, new Map()]));
  const outFilter = new Map<string, readonly string[]>();
  const withoutLocal = { internal: 0, external: 0 };

  function count(of: Map<string, number>, key: string, by: 1 | -1): void {
    const now = (of.get(key) ?? 0) + by;
    if (now > 0) of.set(key, now);
    else of.delete(key);
  }

  function claim(key: string, change: (before: readonly Claim[]) => Claim[]): void {
    const now = change(claims.get(key) ?? []).sort((a, b) => (a.service < b.service ? -1 : 1));
    if (now.length > 0) claims.set(key, now);
    else claims.delete(key);
    const names = [...new Set(now.map(({ service }) => service))];
    if (names.length > 1) contested.set(key, names);
    else contested.delete(key);
  }

  function remember(rules: IpvsServiceRules, changes: WantedChanges): void {
    for (const { server } of rules.servers) {
      const key = serverKey(server);
      if (!changes.servers.has(key)) changes.servers.set(key, claims.get(key)?.[0]?.wanted);
    }
    for (const address of rules.addresses)
      if (!changes.addresses.has(address)) changes.addresses.set(address, addresses.has(address));
    for (const [set, element] of rules.elements) {
      const ofSet = changes.elements.get(set) ?? new Map<string, boolean>();
      changes.elements.set(set, ofSet);
      if (!ofSet.has(element)) ofSet.set(element, elements.get(set)!.has(element));
    }
  }

  function apply(service: string, rules: IpvsServiceRules, by: 1 | -1): void {
    for (const wanted of rules.servers)
      claim(serverKey(wanted.server), (before) =>
        by === 1 ? [...before, { service, wanted }] : before.filter((one) => one.wanted !== wanted),
      );
    for (const address of rules.addresses) count(addresses, address, by);
    for (const [set, element] of rules.elements) count(elements.get(set)!, element, by);
    withoutLocal.internal += by * rules.withoutLocalEndpoints.internal;
    withoutLocal.external += by * rules.withoutLocalEndpoints.external;
  }

  return {
    replace(service, rules, changes) {
      const before = services.get(service);
      if (changes) for (const one of [before, rules]) if (one) remember(one, changes);
      if (before) apply(service, before, -1);
      if (rules) {
        services.set(service, rules);
        apply(service, rules, 1);
      } else services.delete(service);
      if (rules && rules.outFilter.length > 0) outFilter.set(service, rules.outFilter);
      else outFilter.delete(service);
    },
    server: (key) => claims.get(key)?.[0]?.wanted,
    *servers() {
      for (const [key, [first]] of claims) if (first) yield [key, first.wanted];
    },
    serverCount: () => claims.size,
    hasAddress: (address) => addresses.has(address),
    addresses: () => addresses,
    elements: (set) => elements.get(set)!,
    outFilter: () => [...outFilter].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, rules]) => rules),
    withoutLocalEndpoints: () => ({ ...withoutLocal }),
    contested: () => contested,
  };
}
