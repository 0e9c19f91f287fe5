import { randomBytes } from 'node:crypto';
import { parsePrefix, prefixesOverlap } from '../../src/linux/ip.ts';
import { enableVlanFiltering, readVlanFiltering } from '../../src/linux/netlink/bridges.ts';
import { formatMac, type Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { refuseRouterAdvertisements } from './interface-sysctls.ts';

/** By this alias a bridge that Berth made is told from one that the admin made. */
export const BRIDGE_ALIAS = 'berth:bridge';

export interface HostBridgeSpec {
  name: string;
  mtu?: number;
  /** Takes in frames for any MAC. */
  promiscuous?: boolean;
  /** Its ports have VLANs. */
  vlanFiltering?: boolean;
  /** Path of the host's namespace, when it is not the process's own. */
  netns?: string;
}

/**
 * Makes sure that the bridge is there, is one, and is up. Safe against other callers doing the same, and against one that was killed
 * in the middle. A new one gets a MAC of its own: without, it takes the lowest of its ports', which changes as pods come and go.
 * Router advertisements from a pod must not configure the host (CVE-2020-10749): before the link is up, so that none is heard.
 */
export async function ensureBridge(netlink: Rtnetlink, spec: HostBridgeSpec): Promise<Link> {
  let link = await netlink.getLink(spec.name);
  if (!link) {
    try {
      await netlink.createBridge({ name: spec.name, mtu: spec.mtu, mac: randomMac() });
      await netlink.setLink(spec.name, { alias: BRIDGE_ALIAS });
    } catch (error) {
      if (!isNetlinkError(error, 'EEXIST')) throw error;
    }
    link = await netlink.getLink(spec.name);
  }
  if (!link) throw new CniError(CNI_ERROR.tryAgainLater, `bridge ${spec.name} disappeared while it was made`);
  if (link.kind !== 'bridge')
    throw new CniError(
      CNI_ERROR.invalidNetworkConfig,
      `${spec.name} exists and is no bridge (${link.kind ?? 'hardware'}): give another bridge name or remove that link`,
    );
  if (!(await mayHearRouters(netlink, link))) refuseRouterAdvertisements(spec.name, spec.netns);
  if (spec.promiscuous && !link.promiscuous) await netlink.setLink(link.index, { promiscuous: true });
  if (spec.vlanFiltering && !readVlanFiltering(link)) await filterVlans(netlink, link);
  if (!link.up) await netlink.setLink(link.index, { up: true });
  return link;
}

/** A bridge of the admin's with an uplink may have the host's router behind it. O(links) for a bridge that is not ours. */
export async function mayHearRouters(netlink: Rtnetlink, { index, alias }: Link): Promise<boolean> {
  if (alias === BRIDGE_ALIAS) return false;
  return (await netlink.listLinks()).some(({ masterIndex, kind }) => masterIndex === index && kind !== 'veth');
}

/** Only of a bridge that is ours: on the admin's own it would change what its other ports see. */
async function filterVlans(netlink: Rtnetlink, { name, index, alias }: Link): Promise<void> {
  if (alias !== BRIDGE_ALIAS)
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `bridge ${name} does not filter VLANs, which vlan needs`, {
      details: `ip link set ${name} type bridge vlan_filtering 1, or name a bridge that is not there yet`,
    });
  try {
    await enableVlanFiltering(netlink, index);
  } catch (cause) {
    if (!isNetlinkError(cause, 'EOPNOTSUPP')) throw cause;
    throw new CniError(CNI_ERROR.unsupportedField, "vlan: this kernel's bridges have no VLAN filtering", {
      details: 'it is built without CONFIG_BRIDGE_VLAN_FILTERING',
      cause,
    });
  }
}

/**
 * Gives the bridge (or the link that stands for one of its VLANs) its address as the pods' gateway. Beside an IPv6 address of
 * another subnet it may stand.
 * @throws CniError 7 when it has another address that is in the way; `force` replaces that one instead.
 */
export async function ensureGatewayAddress(
  netlink: Rtnetlink,
  link: Link,
  address: string,
  force: boolean,
): Promise<void> {
  const prefix = parsePrefix(address);
  const { family } = prefix;
  const present = (await netlink.listAddresses({ linkIndex: link.index, family })).filter(
    // IPv6 links have a link-local one beside.
    (one) => one.scope === 'global',
  );
  if (present.some((one) => one.address === address)) return;
  for (const other of present) {
    if (family === 6 && !prefixesOverlap(prefix, parsePrefix(other.address))) continue;
    if (!force)
      throw new CniError(
        CNI_ERROR.invalidNetworkConfig,
        `${JSON.stringify(link.name)} already has an IP address different from ${address}: ${other.address}; ` +
          `remove it (ip addr del ${other.address} dev ${link.name}) or use another bridge`,
      );
    try {
      await netlink.deleteAddress({ linkIndex: link.index, address: other.address });
    } catch (error) {
      if (!isNetlinkError(error, 'EADDRNOTAVAIL')) throw error;
    }
  }
  try {
    await netlink.addAddress({ linkIndex: link.index, address });
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
