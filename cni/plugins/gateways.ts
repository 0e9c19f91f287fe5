/** Which address of a subnet is the containers' gateway, and their routes through it. Pure. */
import { formatIp, fromBigInt, networkOf, parsePrefix, toBigInt } from '../../src/linux/ip.ts';
import { defaultDestination } from '../../src/linux/netlink/routes.ts';
import type { CniIp, CniRoute } from '../types.ts';

/** Addresses without a gateway get the first one of their subnet. */
export function withGatewayAddresses(ips: readonly CniIp[]): (CniIp & { gateway: string })[] {
  return ips.map((ip) => ({ ...ip, gateway: ip.gateway || firstAddressOf(ip.address) }));
}

/** Beside the given routes a default route for each family that has none yet. */
export function withDefaultRoutes(routes: readonly CniRoute[], ips: readonly CniIp[]): CniRoute[] {
  const wanted = [...routes];
  for (const { gateway } of ips) {
    const dst = gateway && defaultDestination(gateway);
    if (dst && !wanted.some((route) => route.dst === dst)) wanted.push({ dst, gw: gateway });
  }
  return wanted;
}

function firstAddressOf(address: string): string {
  const network = networkOf(parsePrefix(address));
  return formatIp(fromBigInt(toBigInt(network.address) + 1n, network.family));
}
