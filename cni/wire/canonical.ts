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

/** A destination is a network: bits beyond its length mean nothing. @throws for what is none. */
export function canonicalRoute(route: CniRoute): CniRoute {
  const { gw, ...rest } = route;
  if (typeof route.dst !== 'string') throw new Error('has no dst');
  const dst = formatPrefix(networkOf(parsePrefix(route.dst)));
  return { ...rest, dst, ...(gw && { gw: canonicalAddress(gw) }) };
}

const canonicalAddress = (text: string) => formatIp(parseIp(text));
