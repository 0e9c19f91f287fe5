import { randomBytes } from 'node:crypto';
import { parsePrefix } from '../../src/linux/ip.ts';
import { formatMac, type Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import { CNI_ERROR, CniError } from '../types.ts';

/** By this alias a bridge that Berth made is told from one that the admin made. */
export const BRIDGE_ALIAS = 'berth:bridge';

/**
 * Makes sure that the bridge is there, is one, and is up. Safe against other callers doing the same.
 * A new one gets a MAC of its own: without, it takes the lowest of its ports', which changes as pods come and go.
 */
export async function ensureBridge(
  netlink: Rtnetlink,
  spec: { name: string; mtu?: number; netns?: string },
): Promise<Link> {
  let link = await netlink.getLink(spec.name);
  if (!link) {
    try {
      await netlink.createBridge({ name: spec.name, mtu: spec.mtu, mac: randomMac() });
    } catch (error) {
      if (!isNetlinkError(error, 'EEXIST')) throw error;
    }
    // Router advertisements from a pod must not configure the host. Before the link is up, so that none is heard.
    const acceptRa = `net/ipv6/conf/${spec.name}/accept_ra`;
    if (readSysctl(acceptRa, { netns: spec.netns }) !== undefined) writeSysctl(acceptRa, '0', { netns: spec.netns });
    await netlink.setLink(spec.name, { up: true, alias: BRIDGE_ALIAS });
    link = await netlink.getLink(spec.name);
  }
  if (!link) throw new CniError(CNI_ERROR.tryAgainLater, `bridge ${spec.name} disappeared while it was made`);
  if (link.kind !== 'bridge')
    throw new CniError(
      CNI_ERROR.invalidNetworkConfig,
      `${spec.name} exists and is no bridge (${link.kind ?? 'hardware'}): give another bridge name or remove that link`,
    );
  if (!link.up) await netlink.setLink(link.index, { up: true });
  return link;
}

/**
 * Gives the bridge its address as the pods' gateway.
 * @throws CniError 7 when it has another address of that family; `force` replaces that one instead.
 */
export async function ensureBridgeAddress(
  netlink: Rtnetlink,
  bridge: Link,
  address: string,
  force: boolean,
): Promise<void> {
  const { family } = parsePrefix(address);
  const present = (await netlink.listAddresses({ linkIndex: bridge.index, family })).filter(
    // IPv6 links have a link-local one beside.
    (one) => one.scope === 'global',
  );
  if (present.some((one) => one.address === address)) return;
  for (const other of present) {
    if (!force)
      throw new CniError(
        CNI_ERROR.invalidNetworkConfig,
        `${JSON.stringify(bridge.name)} already has an IP address different from ${address}: ${other.address}; ` +
          `remove it (ip addr del ${other.address} dev ${bridge.name}) or use another bridge`,
      );
    await netlink.deleteAddress({ linkIndex: bridge.index, address: other.address });
  }
  try {
    await netlink.addAddress({ linkIndex: bridge.index, address });
  } catch (error) {
    if (!isNetlinkError(error, 'EEXIST')) throw error;
  }
}

/** A locally administered unicast address. */
function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = (bytes[0]! & 0xfe) | 0x02;
  return formatMac(bytes);
}
