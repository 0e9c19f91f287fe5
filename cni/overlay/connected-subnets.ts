import { type IpPrefix, parseIp, parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import type { Route } from '../../src/linux/netlink/routes.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { ROUTE_PROTOCOL } from '../node/route-protocol.ts';

const MAIN_TABLE = 254;

/** The node's own view: which addresses it has, and which it reaches without a router. */
export interface ConnectedSubnets {
  /** Whether the address is one of this node's. */
  isOwn(ip: string): boolean;
  /** The link of the most specific connected subnet that holds the address; undefined where a router is in between. */
  linkTo(ip: string): number | undefined;
}

/** One read of the kernel's addresses and routes. Subnets of pods (the bridge's) lead to no nodes; a LAN may be wider than all pods' network. */
export async function readConnectedSubnets(
  netlink: Pick<Rtnetlink, 'listAddresses' | 'listRoutes'>,
  podCidrs: readonly string[],
): Promise<ConnectedSubnets> {
  const [addresses, routes] = await Promise.all([netlink.listAddresses(), netlink.listRoutes({ table: MAIN_TABLE })]);
  return computeConnectedSubnets(
    addresses.map(({ address }) => address),
    routes,
    podCidrs,
  );
}

export function computeConnectedSubnets(
  addresses: readonly string[],
  routes: readonly Route[],
  podCidrs: readonly string[],
): ConnectedSubnets {
  const own = new Set(addresses.map((address) => address.split('/')[0]!));
  const pods = podCidrs.map(parsePrefix);
  const subnets = routes
    .filter(isConnected)
    .map((route) => ({ prefix: parsePrefix(route.destination), linkIndex: route.linkIndex! }))
    .filter(({ prefix }) => !pods.some((one) => prefixContains(one, prefix)))
    .toSorted((one, other) => other.prefix.prefixLength - one.prefix.prefixLength);
  return {
    isOwn: (ip) => own.has(ip),
    linkTo(ip) {
      const address = parseIp(ip);
      const holds = ({ prefix }: { prefix: IpPrefix }) => prefixContains(prefix, address);
      return subnets.find(holds)?.linkIndex;
    },
  };
}

function isConnected({ table, type, gateway, linkIndex, protocol }: Route): boolean {
  return (
    table === MAIN_TABLE &&
    type === 'unicast' &&
    gateway === undefined &&
    linkIndex !== undefined &&
    protocol !== ROUTE_PROTOCOL.node &&
    protocol !== ROUTE_PROTOCOL.overlay
  );
}
