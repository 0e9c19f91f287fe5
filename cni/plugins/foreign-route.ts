/** Routes of the host that keep it from a container which is about to get its address. */
import { formatIp, formatPrefix, parsePrefix } from '../../src/linux/ip.ts';
import type { Link } from '../../src/linux/netlink/links.ts';
import { type MatchedRoute, matchRoute } from '../../src/linux/netlink/route-lookup.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { findIdleBridges } from '../node/idle-bridges.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { ignoreGone } from './failure.ts';

/**
 * A route somewhere else that is as narrow as the container's subnet would win, or stand beside. Looked at before the gateway's address is
 * set: where the host's own network has that subnet, its router's address would become the host's, and the host were cut off.
 * @param address of the container, with its subnet's length
 * @throws CniError 7 naming the route
 */
export async function refuseForeignSubnet(host: Rtnetlink, address: string, via: Link): Promise<void> {
  // A routing domain of its own (vrf): the host's tables do not lead into it.
  if (via.masterIndex !== undefined) return;
  let route = await narrowRoute(host, address, via);
  if (route && (await removeIdleBridge(host, route))) route = await narrowRoute(host, address, via);
  if (route) throw await inTheWay(host, address, route);
}

async function narrowRoute(host: Rtnetlink, address: string, via: Link): Promise<MatchedRoute | undefined> {
  const route = await routeElsewhere(host, address, via);
  return route && route.destination.prefixLength >= parsePrefix(address).prefixLength ? route : undefined;
}

/** A bridge of ours that a network of before has left, without a port: it is nobody's way to anything. */
async function removeIdleBridge(host: Rtnetlink, { linkIndex }: MatchedRoute): Promise<boolean> {
  const idle = findIdleBridges(await host.listLinks()).find(({ index }) => index === linkIndex);
  if (!idle) return false;
  await host.deleteLink(idle.index).catch(ignoreGone);
  return true;
}

/**
 * A route to the container's one address that is somebody else's is not replaced.
 * @param via the host's end of the container's link
 * @throws CniError 7 naming the route
 */
export async function refuseForeignHostRoute(host: Rtnetlink, address: string, via: Link): Promise<void> {
  const route = await routeElsewhere(host, address, via);
  if (route?.destination.prefixLength !== parsePrefix(address).address.length * 8) return;
  const link = route.linkIndex === undefined ? undefined : await host.getLink(route.linkIndex);
  // Of a container that had the address before and whose link has not ended yet: another plugin's, perhaps.
  const isContainers = link?.kind === 'veth' && link.peerNetnsId !== undefined;
  if (route.local || !isContainers) throw await inTheWay(host, address, route);
}

async function routeElsewhere(host: Rtnetlink, address: string, via: Link): Promise<MatchedRoute | undefined> {
  const route = await matchRoute(host, formatIp(parsePrefix(address).address));
  return route?.linkIndex === via.index ? undefined : route;
}

async function inTheWay(host: Rtnetlink, address: string, route: MatchedRoute): Promise<CniError> {
  const { destination, linkIndex, local } = route;
  const ip = formatIp(parsePrefix(address).address);
  const link = linkIndex === undefined ? undefined : await host.getLink(linkIndex);
  return new CniError(
    CNI_ERROR.invalidNetworkConfig,
    local ? `${ip} is an address of the host itself` : `a route of the host is in the way of ${address}`,
    {
      details: `${formatPrefix(destination)} leads to ${link?.name ?? 'another link'} (ip route get ${ip}); give the network another subnet, or remove it`,
    },
  );
}
