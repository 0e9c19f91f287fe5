import { formatIp, formatPrefix, networkOf, parseIp, parsePrefix } from '../../src/linux/ip.ts';
import type { CniIp, CniRoute } from '../types.ts';

/** The address and its gateway as the kernel writes them. @throws for what is none. */
export function canonicalIp(ip: CniIp): CniIp {
  const { gateway, ...rest } = ip;
  return {
    ...rest,
    address: formatPrefix(parsePrefix(ip.address)),
    ...(gateway && { gateway: canonicalAddress(gateway) }),
  };
}

/** A destination is a network: bits beyond its length mean nothing. @throws for what is none, or with what the kernel would not take. */
export function canonicalRoute(route: CniRoute): CniRoute {
  const { gw, ...rest } = route;
  if (typeof route.dst !== 'string') throw new Error('has no dst');
  const dst = formatPrefix(networkOf(parsePrefix(route.dst)));
  for (const key of ['mtu', 'advmss', 'priority', 'table', 'scope'] as const) {
    const value = rest[key] ?? 0;
    if (!Number.isInteger(value) || value < 0 || value > U32_MOST)
      throw new Error(`${key} ${JSON.stringify(value)} is no whole number of 32 bits`);
  }
  if (!gw) return { ...rest, dst };
  const gateway = canonicalAddress(gw);
  if (gateway.includes(':') !== dst.includes(':')) throw new Error(`${dst} and its gw ${gateway} are of two families`);
  return { ...rest, dst, gw: gateway };
}

const U32_MOST = 2 ** 32 - 1;

const canonicalAddress = (text: string) => formatIp(parseIp(text));
