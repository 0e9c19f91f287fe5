import { networkInterfaces } from 'node:os';
import { parseIp, parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { UserError } from '../output/failure.ts';

/**
 * The address of the interface that the default route leaves by, as the kubelet chooses it; without such a route, the host's first own address.
 * @param isWanted passes over addresses of links that lead to pods, where there are some already
 */
export async function detectNodeIp(isWanted: (address: string) => boolean = () => true): Promise<string> {
  const netlink = openRtnetlink();
  try {
    const routes = await netlink.listRoutes();
    const defaults = routes.filter(
      (route) => route.family === 4 && route.type === 'unicast' && route.destination === '0.0.0.0/0',
    );
    defaults.sort((one, other) => (one.metric ?? 0) - (other.metric ?? 0));
    const links = await netlink.listLinks();
    const names = [
      ...defaults.map((route) => links.find((link) => link.index === route.linkIndex)?.name ?? ''),
      ...links.map((link) => link.name),
    ];
    const interfaces = networkInterfaces();
    for (const name of names) {
      const address = interfaces[name]?.find((one) => one.family === 'IPv4' && !one.internal && isWanted(one.address));
      if (address) return address.address;
    }
  } finally {
    netlink.close();
  }
  throw new UserError(
    'this host has no IPv4 address but loopback: connect it to a network, or name its address with --node-ip',
  );
}

/** For `detectNodeIp`: not within these ranges. */
export function isOutside(cidrs: readonly string[]): (address: string) => boolean {
  const ranges = cidrs.map((cidr) => parsePrefix(cidr));
  return (address) => !ranges.some((range) => prefixContains(range, parseIp(address)));
}

/** The global IPv6 address of the interface that has this IPv4 one; undefined when there is none. */
export function detectIpv6Beside(nodeIp: string): string | undefined {
  const own = Object.values(networkInterfaces()).find((addresses) => addresses?.some((one) => one.address === nodeIp));
  return own?.find((one) => one.family === 'IPv6' && !one.internal && one.scopeid === 0)?.address;
}
