/** VLANs of a container's port, and the host's own place in one as the containers' gateway. */
import { createHash } from 'node:crypto';
import { addPortVlans, deletePortVlans, LAST_VLAN_ID } from '../../src/linux/netlink/bridges.ts';
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { broken } from './failure.ts';
import { refuseRouterAdvertisements } from './interface-sysctls.ts';

export interface VlanConfig {
  /** Of frames without a tag; undefined: a trunk's are of the bridge's default VLAN. */
  access: number | undefined;
  /** Ranges of VLANs whose frames have a tag; ascending, apart from each other. */
  trunk: readonly { first: number; last: number }[];
  /** The port stays in the bridge's default VLAN too. */
  preserveDefault: boolean;
}

/** Of the port that leads to a VLAN's gateway: it is no container's. */
export const VLAN_GATEWAY_ALIAS = 'berth:gateway';

const DEFAULT_VLAN = 1;
/** What the kernel allows for a name. */
const NAME_LIMIT = 15;

export async function configurePortVlans(netlink: Rtnetlink, portIndex: number, vlans: VlanConfig): Promise<void> {
  const { access, trunk, preserveDefault } = vlans;
  if (!preserveDefault) await deletePortVlans(netlink, portIndex, { first: 1, last: LAST_VLAN_ID });
  const untagged = access ?? (preserveDefault ? undefined : DEFAULT_VLAN);
  if (untagged !== undefined)
    await addPortVlans(netlink, portIndex, { first: untagged, last: untagged, pvid: true, untagged: true });
  for (const range of trunk) await addPortVlans(netlink, portIndex, range);
}

/** The reference plugin's. */
export const vlanGatewayName = ({ name }: Link, vlan: number) => `${name}.${vlan}`;

/**
 * The host's link in a VLAN of the bridge: a veth pair `<bridge>.<vlan>`, whose other end is a port of that VLAN. It stays with the
 * bridge; whoever finds it half-made finishes it.
 */
export async function ensureVlanGateway(
  netlink: Rtnetlink,
  bridge: Link,
  { access, preserveDefault }: VlanConfig & { access: number },
  netns: string | undefined,
): Promise<Link> {
  const name = vlanGatewayName(bridge, access);
  if (name.length > NAME_LIMIT)
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `the VLAN's gateway ${name} would have too long a name`, {
      details: `links have at most ${NAME_LIMIT} characters: give the bridge a shorter name`,
    });
  const port = `veth${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
  const known = await netlink.getLink(name);
  if (known?.up) return known;
  if (!known) {
    try {
      await netlink.createVeth({
        name: port,
        mtu: bridge.mtu,
        peer: { name, mtu: bridge.mtu },
        change: { alias: VLAN_GATEWAY_ALIAS },
      });
    } catch (error) {
      if (!isNetlinkError(error, 'EEXIST')) throw error;
    }
  }
  const end = await netlink.getLink(port);
  if (!end) throw broken(`${name} exists and is not the gateway of bridge ${bridge.name}'s VLAN ${access}`);
  await netlink.setLink(end.index, { masterIndex: bridge.index, up: true });
  await configurePortVlans(netlink, end.index, { access, trunk: [], preserveDefault });
  refuseRouterAdvertisements(name, netns);
  await netlink.setLink(name, { up: true });
  const link = await netlink.getLink(name);
  if (!link) throw broken(`${name} disappeared while it was made`);
  return link;
}
