/** What interface plugins do inside of a container once their link is there, and how they check it later. */
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Route } from '../../src/linux/netlink/routes.ts';
import { openRtnetlink, type Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { netnsExists } from '../../src/linux/netns.ts';
import { type AttachRequest, CNI_ERROR, CniError, type CniResult, type CniRoute } from '../types.ts';
import { broken } from './failure.ts';
import { writeSysctlIfThere } from './interface-sysctls.ts';

/** Opens a container's namespace for one piece of work. @throws CniError 8 when it is gone. */
export async function inContainer<T>(netns: string, work: (pod: Rtnetlink) => Promise<T>): Promise<T> {
  if (!netnsExists(netns)) throw new CniError(CNI_ERROR.invalidNetns, `network namespace ${netns} does not exist`);
  const pod = openRtnetlink(netns);
  try {
    return await work(pod);
  } finally {
    pod.close();
  }
}

export interface InterfaceOptions {
  /** IPv6 addresses are used once no neighbour has answered for them, instead of at once. */
  duplicateDetection?: boolean;
  /** Addresses come without the route to their subnet. */
  noPrefixRoute?: boolean;
}

/**
 * Addresses, up, routes: in this order, so that coming up tells the neighbours of the addresses (arp_notify). A route without a
 * gateway takes that of the first address of its family.
 */
export async function configureInterface(
  pod: Rtnetlink,
  { netns, ifname }: Pick<AttachRequest, 'netns' | 'ifname'>,
  { ips, routes }: Pick<CniResult, 'ips' | 'routes'>,
  options: InterfaceOptions = {},
): Promise<void> {
  const link = await pod.getLink(ifname);
  if (!link) throw broken(`${ifname} disappeared from ${netns}`);
  announceAddresses(netns, ifname);
  if (ips.some(({ address }) => address.includes(':'))) enableIpv6(netns, ifname);
  if (options.duplicateDetection)
    for (const name of ['enhanced_dad', 'accept_dad'])
      writeSysctlIfThere(`net/ipv6/conf/${ifname}/${name}`, '1', netns);
  for (const { address } of ips) await pod.addAddress({ linkIndex: link.index, address, ...options });
  await pod.setLink(link.index, { up: true });
  for (const route of withGateways(routes, ips))
    await pod.prependRoute({
      destination: route.dst,
      gateway: route.gw,
      linkIndex: link.index,
      metric: route.priority,
      table: route.table,
      scope: route.scope,
      mtu: route.mtu,
      advertisedMss: route.advmss,
    });
}

/** Neighbours learn at once where an address is now. Kernels without one of the families have not its keys. */
function announceAddresses(netns: string, ifname: string): void {
  for (const key of [`net/ipv4/conf/${ifname}/arp_notify`, `net/ipv6/conf/${ifname}/ndisc_notify`])
    writeSysctlIfThere(key, '1', netns);
}

/** A runtime may have switched IPv6 off for containers without addresses of it; and going down for a moment must not lose them. */
function enableIpv6(netns: string, ifname: string): void {
  for (const name of ['lo', ifname]) writeSysctlIfThere(`net/ipv6/conf/${name}/disable_ipv6`, '0', netns);
  writeSysctlIfThere(`net/ipv6/conf/${ifname}/keep_addr_on_down`, '1', netns);
}

/** Pure. */
export function withGateways(routes: readonly CniRoute[], ips: CniResult['ips']): CniRoute[] {
  return routes.map((route) => {
    const gw = route.gw || ips.find(({ gateway }) => gateway && sameFamily(gateway, route.dst))?.gateway;
    // What is on the link itself has no gateway.
    return gw === undefined || route.scope === SCOPE_LINK ? route : { ...route, gw };
  });
}

const SCOPE_LINK = 253;
const sameFamily = (one: string, other: string) => one.includes(':') === other.includes(':');

/**
 * The interface, addresses and routes that an ADD has reported.
 * @returns the link, for what is the plugin's own to look at.
 * @throws CniError 0 naming the first that is not there any more.
 */
export async function checkInterface(
  pod: Rtnetlink,
  { netns, ifname }: AttachRequest,
  { interfaces, ips, routes }: CniResult,
  options: { isDown?: boolean } = {},
): Promise<Link> {
  const reported = interfaces.find(({ name, sandbox }) => name === ifname && sandbox === netns);
  if (!reported) throw broken(`the result of the ADD has no interface ${ifname} in ${netns}`);
  const link = await pod.getLink(ifname);
  if (!link) throw broken(`${ifname} is missing in ${netns}`);
  if (reported.mac && reported.mac.toLowerCase() !== link.mac)
    throw broken(`${ifname} has MAC ${link.mac}, not ${reported.mac}`);
  if (!link.up && !options.isDown) throw broken(`${ifname} is down`);
  const present = new Set((await pod.listAddresses({ linkIndex: link.index })).map(({ address }) => address));
  for (const { address, interface: index } of ips)
    if ((index === undefined || interfaces[index] === reported) && !present.has(address))
      throw broken(`${ifname} lacks address ${address}`);
  if (routes.length > 0) checkRoutes(netns, await pod.listRoutes(), routes);
  return link;
}

function checkRoutes(netns: string, have: readonly Route[], wanted: readonly CniRoute[]): void {
  for (const { dst, gw, table, priority } of wanted) {
    const found = have.some(
      (route) =>
        route.destination === dst &&
        // A plugin behind this one may have moved it (sbr, vrf).
        (table === undefined || route.table === table) &&
        (!gw || route.gateway === gw) &&
        (priority === undefined || route.metric === priority),
    );
    if (!found) throw broken(`${netns} lacks the route to ${dst}${gw ? ` by ${gw}` : ''}`);
  }
}
