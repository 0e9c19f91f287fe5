import ipaddr from 'ipaddr.js';
import { cidrContains } from '../state/addresses.ts';
import type { Elements, Pattern } from './ruleset.ts';

/** Elements of a set or map, in the order of precedence where ranges overlap. Exact keys are found at once, however many there are. */
export function createElements<T>(
  entries: Iterable<readonly [key: readonly Pattern[], value: T]>,
  name?: string,
): Elements<T> {
  const exact = new Map<string, { value: T }>();
  const patterns: { key: readonly Pattern[]; value: T }[] = [];
  let size = 0;
  for (const [key, value] of entries) {
    size++;
    if (key.every((part) => typeof part === 'string')) exact.set(key.join(SEPARATOR), { value });
    else patterns.push({ key, value });
  }
  return {
    name,
    size,
    find: (key) =>
      exact.get(key.join(SEPARATOR)) ??
      patterns.find((entry) => entry.key.every((pattern, index) => admits(pattern, key[index] ?? ''))),
  };
}

const SEPARATOR = ' . ';

function admits(pattern: Pattern, value: string): boolean {
  if (typeof pattern === 'string') return pattern === value;
  if ('prefix' in pattern) return value.startsWith(pattern.prefix);
  if ('cidr' in pattern) return ipaddr.isValid(value) && cidrContains(pattern.cidr, value);
  return compare(pattern.from, value) <= 0 && compare(value, pattern.to) <= 0;
}

/** Order of numbers, or of addresses of one family. */
function compare(a: string, b: string): number {
  if (/^\d+$/.test(a) && /^\d+$/.test(b)) return Number(a) - Number(b);
  const [left, right] = [a, b].map((text) => (ipaddr.isValid(text) ? ipaddr.parse(text).toByteArray() : []));
  if (left!.length !== right!.length || left!.length === 0) return Number.NaN;
  const at = left!.findIndex((byte, index) => byte !== right![index]);
  return at < 0 ? 0 : left![at]! - right![at]!;
}

/** The spelling in which addresses are compared; what is no address stays as it is. */
export function canonicalAddress(text: string): string {
  return ipaddr.isValid(text) && !/^\d+$/.test(text) ? ipaddr.parse(text).toString() : text;
}

/** `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1-10.0.0.9` as patterns. */
export function addressPattern(text: string): Pattern {
  if (text.includes('/')) {
    const [address, bits] = text.split('/') as [string, string];
    const isWhole = bits === (address.includes(':') ? '128' : '32');
    return isWhole ? canonicalAddress(address) : { cidr: text };
  }
  const [from, to] = text.split('-');
  return to === undefined ? canonicalAddress(text) : { from: canonicalAddress(from!), to: canonicalAddress(to) };
}

/** `80`, `30000-32767` (iptables writes `30000:32767`). */
export function portPattern(text: string): Pattern {
  const [from, to] = text.split(/[-:]/);
  return to === undefined ? text : { from: from || '0', to: to || '65535' };
}

/** `cni0`; everything that starts with `veth` is `veth+` in iptables and `veth*` in nft. */
export function interfacePattern(text: string, wildcard: '+' | '*'): Pattern {
  return text.endsWith(wildcard) ? { prefix: text.slice(0, -1) } : text;
}
