import { parseAttributes } from 'netlink/dist/structs.js';
import { type Attribute, bytes, LITTLE_ENDIAN, nested, readI32, readU16, text, u8, u32 } from './attributes.ts';
import {
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  NLM_F_DUMP,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
} from './constants.ts';
import { type Link, linkHeader } from './links.ts';
import type { Rtnetlink } from './rtnetlink.ts';

/** What only bridges have: VLAN filtering, and the VLANs of their ports (linux/if_bridge.h). */

const RTM_SETLINK = 19;
const AF_BRIDGE = 7;
const IFLA_AF_SPEC = 26;
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_BRVLAN = 2;
const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BRIDGE_VLAN_INFO = 2;
const BRIDGE_VLAN_INFO_PVID = 2;
const BRIDGE_VLAN_INFO_UNTAGGED = 4;
const BRIDGE_VLAN_INFO_RANGE_BEGIN = 8;
const BRIDGE_VLAN_INFO_RANGE_END = 16;

export const LAST_VLAN_ID = 4094;

/** VLANs `first` to `last` of a bridge's port. */
export interface PortVlans {
  first: number;
  last: number;
  /** Frames that come without a tag are of this one. */
  pvid?: boolean;
  /** Frames of these leave without a tag. */
  untagged?: boolean;
}

/** Whether the bridge keeps VLANs apart. */
export function readVlanFiltering(bridge: Link): boolean {
  return bridge.data?.get(IFLA_BR_VLAN_FILTERING)?.[0] === 1;
}

/** Has a bridge keep VLANs apart. EOPNOTSUPP from a kernel that was built without (CONFIG_BRIDGE_VLAN_FILTERING). */
export async function enableVlanFiltering(netlink: Rtnetlink, bridgeIndex: number): Promise<void> {
  const data = nested(IFLA_INFO_DATA, [u8(IFLA_BR_VLAN_FILTERING, 1)]);
  await netlink.request({
    operation: `enable VLAN filtering of bridge ${bridgeIndex}`,
    type: RTM_NEWLINK,
    body: [linkHeader(bridgeIndex), ...nested(IFLA_LINKINFO, [text(IFLA_INFO_KIND, 'bridge'), data])],
  });
}

/** EOPNOTSUPP where the kernel lacks VLAN filtering. */
export async function addPortVlans(netlink: Rtnetlink, portIndex: number, vlans: PortVlans): Promise<void> {
  await netlink.request({
    operation: `add VLANs ${vlans.first}-${vlans.last} to port ${portIndex}`,
    type: RTM_SETLINK,
    body: encodePortVlans(portIndex, vlans),
  });
}

/** Those that the port does not have are no error. */
export async function deletePortVlans(netlink: Rtnetlink, portIndex: number, vlans: PortVlans): Promise<void> {
  await netlink.request({
    operation: `delete VLANs ${vlans.first}-${vlans.last} of port ${portIndex}`,
    type: RTM_DELLINK,
    body: encodePortVlans(portIndex, vlans),
  });
}

/** In order of their numbers, one entry a VLAN. O(ports of all bridges). */
export async function listPortVlans(netlink: Rtnetlink, portIndex: number): Promise<PortVlans[]> {
  const bodies = await netlink.request({
    operation: 'list VLANs of ports',
    type: RTM_GETLINK,
    flags: NLM_F_DUMP,
    body: [bridgeHeader(0), ...u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN)],
  });
  const found: PortVlans[] = [];
  for (const body of bodies) {
    if (readI32(body, 4) !== portIndex) continue;
    parseAttributes(body.subarray(16), ({ type, data }) => {
      if (type !== IFLA_AF_SPEC) return;
      parseAttributes(data, (item) => {
        if (item.type === IFLA_BRIDGE_VLAN_INFO) found.push(decodeVlan(item.data));
      });
    });
  }
  return found;
}

function decodeVlan(data: Buffer): PortVlans {
  const flags = readU16(data);
  const id = readU16(data, 2);
  return {
    first: id,
    last: id,
    pvid: (flags & BRIDGE_VLAN_INFO_PVID) !== 0,
    untagged: (flags & BRIDGE_VLAN_INFO_UNTAGGED) !== 0,
  };
}

function encodePortVlans(portIndex: number, { first, last, pvid, untagged }: PortVlans): Uint8Array[] {
  const flags = (pvid ? BRIDGE_VLAN_INFO_PVID : 0) | (untagged ? BRIDGE_VLAN_INFO_UNTAGGED : 0);
  const infos =
    first === last
      ? [vlanInfo(flags, first)]
      : [vlanInfo(flags | BRIDGE_VLAN_INFO_RANGE_BEGIN, first), vlanInfo(flags | BRIDGE_VLAN_INFO_RANGE_END, last)];
  return [bridgeHeader(portIndex), ...nested(IFLA_AF_SPEC, infos)];
}

/** struct bridge_vlan_info. */
function vlanInfo(flags: number, id: number): Attribute {
  const info = Buffer.alloc(4);
  if (LITTLE_ENDIAN) {
    info.writeUInt16LE(flags, 0);
    info.writeUInt16LE(id, 2);
  } else {
    info.writeUInt16BE(flags, 0);
    info.writeUInt16BE(id, 2);
  }
  return bytes(IFLA_BRIDGE_VLAN_INFO, info);
}

function bridgeHeader(index: number): Buffer {
  const header = linkHeader(index);
  header[0] = AF_BRIDGE;
  return header;
}
