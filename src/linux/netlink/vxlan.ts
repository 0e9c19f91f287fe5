import { formatIp, ipFamily, parseIp } from '../ip.ts';
import { type Attribute, bytes, readU32, u8, u32 } from './attributes.ts';

/** IFLA_VXLAN_* of linux/if_link.h. */
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_GROUP = 2;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_L2MISS = 13;
const IFLA_VXLAN_L3MISS = 14;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_GROUP6 = 16;
const IFLA_VXLAN_LOCAL6 = 17;
const IFLA_VXLAN_GBP = 23;
const IFLA_VXLAN_COLLECT_METADATA = 25;

/** A VXLAN device's own settings. All are given once, when it is made. */
export interface VxlanData {
  /** VNI, 24 bits. */
  id: number;
  /** The outer packets' source; its family is that of the underlay. */
  local?: string;
  /** The link that the outer packets leave by. */
  lowerIndex?: number;
  /** UDP port of the other ends, and our own. Left out: the kernel's default, 8472. */
  port?: number;
  /** Whether senders' addresses are remembered in the forwarding table. */
  learning: boolean;
  /** Group-based policy: packets carry their mark. */
  groupPolicy: boolean;
}

/** What a device in the kernel has besides: things that we never ask for. */
export interface VxlanState extends VxlanData {
  port: number;
  /** A multicast group, or the one other end of a tunnel. */
  group?: string;
  missNotifications: boolean;
  /** Tunnels are chosen packet by packet, by somebody else's rules. */
  external: boolean;
}

export function encodeVxlan(data: VxlanData): Attribute[] {
  const { id, local, lowerIndex, port, learning, groupPolicy } = data;
  const localType = local !== undefined && ipFamily(local) === 6 ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL;
  return [
    u32(IFLA_VXLAN_ID, id),
    ...(lowerIndex === undefined ? [] : [u32(IFLA_VXLAN_LINK, lowerIndex)]),
    ...(local === undefined ? [] : [bytes(localType, parseIp(local))]),
    u8(IFLA_VXLAN_LEARNING, learning ? 1 : 0),
    // In network order, unlike the rest.
    ...(port === undefined ? [] : [bytes(IFLA_VXLAN_PORT, Uint8Array.of(port >> 8, port & 0xff))]),
    ...(groupPolicy ? [bytes(IFLA_VXLAN_GBP, new Uint8Array(0))] : []),
  ];
}

/** Reads `Link.data` of a link of kind `vxlan`. */
export function decodeVxlan(data: ReadonlyMap<number, Buffer>): VxlanState {
  const number = (type: number) => (data.has(type) ? readU32(data.get(type)!) : undefined);
  const isSet = (type: number) => data.get(type)?.[0] === 1;
  const ip = (...types: number[]) => {
    const found = types.map((type) => data.get(type)).find((one) => one?.some((byte) => byte !== 0));
    return found && formatIp(found);
  };
  const lowerIndex = number(IFLA_VXLAN_LINK);
  return {
    id: number(IFLA_VXLAN_ID) ?? 0,
    local: ip(IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6),
    lowerIndex: lowerIndex === 0 ? undefined : lowerIndex,
    port: data.get(IFLA_VXLAN_PORT)?.readUInt16BE() ?? 0,
    learning: isSet(IFLA_VXLAN_LEARNING),
    groupPolicy: data.has(IFLA_VXLAN_GBP),
    group: ip(IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6),
    missNotifications: isSet(IFLA_VXLAN_L2MISS) || isSet(IFLA_VXLAN_L3MISS),
    external: isSet(IFLA_VXLAN_COLLECT_METADATA),
  };
}
