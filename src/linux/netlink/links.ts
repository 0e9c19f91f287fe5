import {
  type Attribute,
  bytes,
  LITTLE_ENDIAN,
  nested,
  readAttributes,
  readI32,
  readText,
  readU32,
  text,
  u8,
  u32,
} from './attributes.ts';
import {
  AF_UNSPEC,
  IFF_ALLMULTI,
  IFF_LOOPBACK,
  IFF_PROMISC,
  IFF_RUNNING,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_BRPORT_ISOLATED,
  IFLA_BRPORT_MODE,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_LINK,
  IFLA_LINK_NETNSID,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_NET_NS_FD,
  IFLA_OPERSTATE,
  IFLA_TXQLEN,
  OPERATIONAL_STATES,
  VETH_INFO_PEER,
} from './constants.ts';

/** A network interface as the kernel shows it. */
export interface Link {
  index: number;
  name: string;
  /** `bridge`, `veth`, `vxlan`, …; undefined for hardware and loopback. */
  kind?: string;
  /** `02:…`; undefined for links without an Ethernet address. */
  mac?: string;
  mtu: number;
  up: boolean;
  running: boolean;
  promiscuous: boolean;
  allMulticast: boolean;
  loopback: boolean;
  operationalState: (typeof OPERATIONAL_STATES)[number];
  /** The bridge (or bond) that it is a port of. */
  masterIndex?: number;
  /** A veth's other end, as an index in the namespace of that end; of a link on top of another (macvlan, vlan, …) that other one. */
  peerIndex?: number;
  /** Set when the other end lives in another namespace. */
  peerNetnsId?: number;
  alias?: string;
  txQueueLength: number;
  /** What is its kind's own (IFLA_INFO_DATA), as the kernel sent it: read by the file of that kind. */
  data?: ReadonlyMap<number, Buffer>;
  /** What it is as a bridge's port. */
  bridgePort?: { hairpin: boolean; isolated: boolean };
}

/** What a link can be told at any time. Absent fields stay as they are. */
export interface LinkChange {
  name?: string;
  up?: boolean;
  /** 0 takes it out of its bridge. */
  masterIndex?: number;
  mtu?: number;
  mac?: string;
  /** At most 255 bytes; empty removes it. */
  alias?: string;
  /** For a port of a bridge: frames may leave through the port they came in. */
  hairpin?: boolean;
  /** For a port of a bridge: no frames from and to other isolated ports. */
  isolated?: boolean;
  promiscuous?: boolean;
  allMulticast?: boolean;
  txQueueLength?: number;
  /** Open descriptor of the namespace that it moves to; it is down there and has no addresses. */
  netnsFd?: number;
}

/** A virtual link of any kind. */
export interface LinkSpec {
  name: string;
  /** `vxlan`, `macvlan`, `dummy`, `ifb`, …. */
  kind: string;
  /** Attributes of the kind's own, within IFLA_INFO_DATA. */
  data?: Attribute[];
  /** The link that it stands upon. */
  lowerIndex?: number;
  mtu?: number;
  mac?: string;
  masterIndex?: number;
  up?: boolean;
  /** Open descriptor of the namespace in which it is made; `lowerIndex` is an index of the socket's own. */
  netnsFd?: number;
}

export interface BridgeSpec {
  name: string;
  mtu?: number;
  /** An address given at creation stays; else the bridge takes the lowest of its ports', which changes as pods come and go. */
  mac?: string;
  up?: boolean;
}

export interface VethSpec {
  name: string;
  mtu?: number;
  mac?: string;
  masterIndex?: number;
  up?: boolean;
  peer: {
    name: string;
    mtu?: number;
    mac?: string;
    /** Open descriptor of the namespace in which the peer is made; default: beside it. */
    netnsFd?: number;
  };
}

/** struct ifinfomsg. `change` says which flags are meant. */
export function linkHeader(index: number, flags = 0, change = 0): Buffer {
  const header = Buffer.alloc(16);
  header[0] = AF_UNSPEC;
  if (LITTLE_ENDIAN) {
    header.writeInt32LE(index, 4);
    header.writeUInt32LE(flags, 8);
    header.writeUInt32LE(change, 12);
  } else {
    header.writeInt32BE(index, 4);
    header.writeUInt32BE(flags, 8);
    header.writeUInt32BE(change, 12);
  }
  return header;
}

interface Flags {
  up?: boolean;
  promiscuous?: boolean;
  allMulticast?: boolean;
}

function flagsHeader(index: number, { up, promiscuous, allMulticast }: Flags): Buffer {
  const said: [boolean | undefined, number][] = [
    [up, IFF_UP],
    [promiscuous, IFF_PROMISC],
    [allMulticast, IFF_ALLMULTI],
  ];
  const bits = (isOne: (value: boolean | undefined) => boolean) =>
    said.reduce((sum, [value, bit]) => (isOne(value) ? sum | bit : sum), 0);
  return linkHeader(
    index,
    bits((value) => value === true),
    bits((value) => value !== undefined),
  );
}

function baseAttributes(spec: { name?: string; mtu?: number; mac?: string; masterIndex?: number }): Attribute[] {
  return [
    ...(spec.name === undefined ? [] : [text(IFLA_IFNAME, spec.name)]),
    ...(spec.mtu === undefined ? [] : [u32(IFLA_MTU, spec.mtu)]),
    ...(spec.mac === undefined ? [] : [bytes(IFLA_ADDRESS, parseMac(spec.mac))]),
    ...(spec.masterIndex === undefined ? [] : [u32(IFLA_MASTER, spec.masterIndex)]),
  ];
}

export function encodeBridge(spec: BridgeSpec): Uint8Array[] {
  return [
    flagsHeader(0, spec),
    ...[...baseAttributes(spec), nested(IFLA_LINKINFO, [text(IFLA_INFO_KIND, 'bridge')])].flat(),
  ];
}

export function encodeLink(spec: LinkSpec): Uint8Array[] {
  const info = [text(IFLA_INFO_KIND, spec.kind), ...(spec.data ? [nested(IFLA_INFO_DATA, spec.data)] : [])];
  const attributes = [
    ...baseAttributes(spec),
    ...(spec.lowerIndex === undefined ? [] : [u32(IFLA_LINK, spec.lowerIndex)]),
    ...(spec.netnsFd === undefined ? [] : [u32(IFLA_NET_NS_FD, spec.netnsFd)]),
    nested(IFLA_LINKINFO, info),
  ];
  return [flagsHeader(0, spec), ...attributes.flat()];
}

/** Both ends in one message, the peer already in its namespace. The peer can't be up yet: the driver opens it before it knows its other end (ENOTCONN). */
export function encodeVeth(spec: VethSpec): Uint8Array[] {
  const { peer } = spec;
  const peerAttributes = [
    ...baseAttributes(peer),
    ...(peer.netnsFd === undefined ? [] : [u32(IFLA_NET_NS_FD, peer.netnsFd)]),
  ];
  const info = nested(IFLA_LINKINFO, [
    text(IFLA_INFO_KIND, 'veth'),
    nested(IFLA_INFO_DATA, [nested(VETH_INFO_PEER, peerAttributes, linkHeader(0))]),
  ]);
  return [flagsHeader(0, spec), ...[...baseAttributes(spec), info].flat()];
}

/** A change of an existing link, found by index, or by name where the target is a string. */
export function encodeLinkChange(target: number | string, change: LinkChange): Uint8Array[] {
  const port = [
    ...(change.hairpin === undefined ? [] : [u8(IFLA_BRPORT_MODE, change.hairpin ? 1 : 0)]),
    ...(change.isolated === undefined ? [] : [u8(IFLA_BRPORT_ISOLATED, change.isolated ? 1 : 0)]),
  ];
  const byName = typeof target === 'string';
  const attributes = [
    ...(byName ? [text(IFLA_IFNAME, target)] : []),
    ...baseAttributes(byName ? { ...change, name: undefined } : change),
    ...(change.alias === undefined ? [] : [bytes(IFLA_IFALIAS, aliasBytes(change.alias))]),
    ...(change.txQueueLength === undefined ? [] : [u32(IFLA_TXQLEN, change.txQueueLength)]),
    ...(change.netnsFd === undefined ? [] : [u32(IFLA_NET_NS_FD, change.netnsFd)]),
    ...(port.length === 0
      ? []
      : [nested(IFLA_LINKINFO, [text(IFLA_INFO_SLAVE_KIND, 'bridge'), nested(IFLA_INFO_SLAVE_DATA, port)])]),
  ];
  return [flagsHeader(byName ? 0 : target, change), ...attributes.flat()];
}

const ALIAS_LIMIT_BYTES = 255;

/** The kernel keeps this much and refuses more; a longer text is cut. Goes without a zero at its end. */
function aliasBytes(alias: string): Buffer {
  return Buffer.from(alias).subarray(0, ALIAS_LIMIT_BYTES);
}

export function decodeLink(body: Buffer): Link {
  const flags = readU32(body, 8);
  const attributes = readAttributes(body, 16);
  const number = (type: number) => {
    const data = attributes.get(type);
    return data && readU32(data);
  };
  const info = attributes.has(IFLA_LINKINFO) ? readAttributes(attributes.get(IFLA_LINKINFO)!) : undefined;
  const kind = info?.get(IFLA_INFO_KIND);
  const data = info?.get(IFLA_INFO_DATA);
  const slaveKind = info?.get(IFLA_INFO_SLAVE_KIND);
  const slaveData = info?.get(IFLA_INFO_SLAVE_DATA);
  const mac = attributes.get(IFLA_ADDRESS);
  const netnsId = attributes.get(IFLA_LINK_NETNSID);
  const alias = attributes.get(IFLA_IFALIAS);
  return {
    index: readI32(body, 4),
    name: readText(attributes.get(IFLA_IFNAME) ?? Buffer.alloc(0)),
    kind: kind && readText(kind),
    mac: mac?.length === 6 ? formatMac(mac) : undefined,
    mtu: number(IFLA_MTU) ?? 0,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    allMulticast: (flags & IFF_ALLMULTI) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    operationalState: OPERATIONAL_STATES[attributes.get(IFLA_OPERSTATE)?.[0] ?? 0] ?? 'unknown',
    masterIndex: number(IFLA_MASTER),
    peerIndex: number(IFLA_LINK),
    peerNetnsId: netnsId && readI32(netnsId),
    alias: alias && readText(alias),
    txQueueLength: number(IFLA_TXQLEN) ?? 0,
    data: data && readAttributes(data),
    bridgePort:
      slaveKind && slaveData && readText(slaveKind) === 'bridge'
        ? readBridgePort(readAttributes(slaveData))
        : undefined,
  };
}

function readBridgePort(data: ReadonlyMap<number, Buffer>): Link['bridgePort'] {
  return { hairpin: data.get(IFLA_BRPORT_MODE)?.[0] === 1, isolated: data.get(IFLA_BRPORT_ISOLATED)?.[0] === 1 };
}

export function parseMac(mac: string): Buffer {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) throw new Error(`${JSON.stringify(mac)} is no MAC address`);
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export function formatMac(mac: Uint8Array): string {
  return [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
