import {
  formatIp,
  formatPrefix,
  fromBigInt,
  type IpPrefix,
  lastAddressOf,
  networkOf,
  parseIp,
  parsePrefix,
  prefixContains,
  toBigInt,
} from '../../src/linux/ip.ts';
import { CNI_ERROR, CniError } from '../types.ts';

/** One range as a network configuration writes it. */
export interface RangeConfig {
  subnet: string;
  /** Default: the first address after the network's. */
  rangeStart?: string;
  /** Default: the last before the broadcast address (IPv6: the last). */
  rangeEnd?: string;
  /** Never given to a container. Default: the first address of the subnet. May be outside of it. */
  gateway?: string;
}

export interface Range {
  subnet: IpPrefix;
  first: bigint;
  last: bigint;
  gateway: string;
}

/** A set of ranges gives one address to each container. */
export type RangeSet = readonly Range[];

/**
 * Parses and checks range sets as host-local does.
 * @throws CniError 7 naming the value: no CIDR, host bits set, smaller than /30, start or end outside, mixed families, overlap.
 */
export function parseRangeSets(sets: readonly (readonly RangeConfig[])[]): RangeSet[] {
  const parsed = sets.map((set, index) => {
    if (!Array.isArray(set)) throw invalid(`ipam.ranges[${index}]: ${JSON.stringify(set)} is no list of ranges`);
    return set.map(parseRange);
  });
  if (parsed.length === 0) throw invalid('no IP ranges specified: give ipam.ranges one subnet at least');
  for (const set of parsed) {
    if (set.length === 0) throw invalid('ipam.ranges has an empty set: give it one subnet at least');
    if (new Set(set.map((range) => range.subnet.family)).size > 1)
      throw invalid('ipam.ranges mixes IPv4 and IPv6 in one set: make it two sets');
  }
  const all = parsed.flat();
  for (const [index, one] of all.entries())
    for (const other of all.slice(index + 1))
      if (rangesOverlap(one, other))
        throw invalid(`ipam.ranges ${describeRange(one)} and ${describeRange(other)} overlap`);
  return parsed;
}

/** Ranges of one subnet may lie beside each other. */
function rangesOverlap(one: Range, other: Range): boolean {
  return one.subnet.family === other.subnet.family && one.first <= other.last && other.first <= one.last;
}

function parseRange(config: RangeConfig): Range {
  for (const key of ['subnet', 'rangeStart', 'rangeEnd', 'gateway'] as const)
    if ((config?.[key] ?? undefined) !== undefined && typeof config[key] !== 'string')
      throw invalid(`ipam.ranges.${key}: ${JSON.stringify(config[key])} is no text`);
  if (typeof config?.subnet !== 'string') throw invalid(`ipam.ranges: ${JSON.stringify(config)} has no subnet`);
  const subnet = asConfig('subnet', () => parsePrefix(config.subnet));
  const network = networkOf(subnet);
  if (formatIp(network.address) !== formatIp(subnet.address))
    throw invalid(`ipam.ranges.subnet ${config.subnet} has host bits set; the subnet is ${formatPrefix(network)}`);
  if (subnet.address.length * 8 - subnet.prefixLength < 2)
    throw invalid(`ipam.ranges.subnet ${config.subnet} is too small: /30 (IPv6 /126) at most`);
  const base = toBigInt(network.address);
  const end = toBigInt(lastAddressOf(network));
  // It may be outside: a router that is reached over the link all the same (169.254.1.1).
  const gatewayOf = (text: string) => {
    const address = asConfig('gateway', () => parseIp(text));
    if (address.length !== subnet.address.length)
      throw invalid(`ipam.ranges.gateway ${text} and ${config.subnet} are of two families`);
    return address;
  };
  const within = (field: string, text: string) => {
    const address = asConfig(field, () => parseIp(text));
    if (!prefixContains(subnet, address)) throw invalid(`ipam.ranges.${field} ${text} is not in ${config.subnet}`);
    return address;
  };
  const first = config.rangeStart ? toBigInt(within('rangeStart', config.rangeStart)) : base + 1n;
  const lastUsable = subnet.family === 4 ? end - 1n : end;
  const last = config.rangeEnd ? toBigInt(within('rangeEnd', config.rangeEnd)) : lastUsable;
  if (first > last) throw invalid(`ipam.ranges.rangeStart ${config.rangeStart} is after rangeEnd ${config.rangeEnd}`);
  // As the kernel writes it: candidates are compared with it as text.
  const gateway = formatIp(config.gateway ? gatewayOf(config.gateway) : fromBigInt(base + 1n, subnet.family));
  return { subnet, first, last, gateway };
}

function asConfig<T>(field: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalid(`ipam.ranges.${field}: ${error instanceof Error ? error.message : error}`);
  }
}

function invalid(message: string): CniError {
  return new CniError(CNI_ERROR.invalidNetworkConfig, message);
}

/** `10.244.1.1-10.244.1.254`, ranges joined by commas: how errors name a set. */
export function describeRangeSet(set: RangeSet): string {
  return set.map(describeRange).join(',');
}

function describeRange({ first, last, subnet }: Range): string {
  return [first, last].map((value) => formatIp(fromBigInt(value, subnet.family))).join('-');
}

/** The range of the set that the address is in; undefined when it is in none. */
export function rangeOf(set: RangeSet, ip: string): Range | undefined {
  const found = locate(set, ip);
  return found && set[found.rangeIndex];
}

export interface Candidate {
  ip: string;
  range: Range;
}

/**
 * All addresses of the set, in the order in which they are tried: from the one after `lastReserved`, through the following
 * ranges, around to `lastReserved` itself. Gateways are left out.
 */
export function* candidates(set: RangeSet, lastReserved: string | undefined): Generator<Candidate> {
  const start = lastReserved === undefined ? undefined : locate(set, lastReserved);
  const firstRange = start?.rangeIndex ?? 0;
  for (let step = 0; step <= set.length; step++) {
    const range = set[(firstRange + step) % set.length]!;
    // The first range is walked twice: its rest now, its beginning at the end.
    const from = step === 0 && start ? start.value + 1n : range.first;
    const to = step === set.length ? (start ? start.value : range.first - 1n) : range.last;
    for (let value = from; value <= to; value++) {
      const ip = formatIp(fromBigInt(value, range.subnet.family));
      if (ip !== range.gateway) yield { ip, range };
    }
  }
}

function locate(set: RangeSet, ip: string): { rangeIndex: number; value: bigint } | undefined {
  let address: Uint8Array;
  try {
    address = parseIp(ip);
  } catch {
    return undefined;
  }
  const value = toBigInt(address);
  const rangeIndex = set.findIndex(
    (range) => prefixContains(range.subnet, address) && value >= range.first && value <= range.last,
  );
  return rangeIndex < 0 ? undefined : { rangeIndex, value };
}
