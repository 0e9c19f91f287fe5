import { formatIp, parseIp } from '../linux/ip.ts';
import {
  type Attribute,
  bytes,
  LITTLE_ENDIAN,
  nested,
  readAttributes,
  readU16,
  readU32,
  text,
  u32,
  u32Bytes,
} from '../linux/netlink/attributes.ts';
import { AF_INET, AF_INET6 } from '../linux/netlink/constants.ts';
import { GENERIC_HEADER_BYTES, port } from '../linux/netlink/generic.ts';

export type IpvsProtocol = 'TCP' | 'UDP' | 'SCTP';

/** What tells a virtual server from others. The address is in its canonical spelling. */
export interface VirtualServerId {
  readonly protocol: IpvsProtocol;
  readonly address: string;
  readonly port: number;
}

/** A virtual server of IPVS. */
export interface VirtualServer extends VirtualServerId {
  /** `rr`, `wlc`, …: the name of the kernel module without its `ip_vs_`. */
  readonly scheduler: string;
  /** IP_VS_SVC_F_*, without the kernel's own IP_VS_SVC_F_HASHED. */
  readonly flags: number;
  /** With FLAG_PERSISTENT: how long a client stays with its real server. Else 0. */
  readonly timeoutSeconds: number;
}

/** A real server behind a virtual one, reached by translating addresses (masquerading). */
export interface RealServer {
  readonly address: string;
  readonly port: number;
  /** 0 takes no new connections. */
  readonly weight: number;
}

export interface RealServerState extends RealServer {
  readonly activeConnections: number;
  readonly inactiveConnections: number;
}

/** Connections that were set up and may be answered yet, in seconds; what is left out stays as it is. */
export interface IpvsTimeouts {
  tcpSeconds?: number;
  tcpFinSeconds?: number;
  udpSeconds?: number;
}

/** IP_VS_SVC_F_PERSISTENT: a client keeps its real server. */
export const FLAG_PERSISTENT = 0x1;
const FLAG_HASHED = 0x2;
/** IP_VS_SVC_F_SCHED2: sh and mh hash the client's port too. */
export const FLAG_SCHED2 = 0x10;

/** Numbers of linux/ip_vs.h. */
export const COMMAND = {
  newService: 1,
  setService: 2,
  deleteService: 3,
  getService: 4,
  newDestination: 5,
  setDestination: 6,
  deleteDestination: 7,
  getDestination: 8,
  setConfig: 12,
} as const;

const ATTR_SERVICE = 1;
const ATTR_DESTINATION = 2;
const ATTR_TIMEOUT_TCP = 4;
const ATTR_TIMEOUT_TCP_FIN = 5;
const ATTR_TIMEOUT_UDP = 6;

const SERVICE = {
  family: 1,
  protocol: 2,
  address: 3,
  port: 4,
  scheduler: 6,
  flags: 7,
  timeout: 8,
  netmask: 9,
} as const;
const DESTINATION = {
  address: 1,
  port: 2,
  forwarding: 3,
  weight: 4,
  upperThreshold: 5,
  lowerThreshold: 6,
  active: 7,
  inactive: 8,
} as const;

const PROTOCOL_NUMBERS: Record<IpvsProtocol, number> = { TCP: 6, UDP: 17, SCTP: 132 };
const PROTOCOL_NAMES = new Map(Object.entries(PROTOCOL_NUMBERS).map(([name, n]) => [n, name as IpvsProtocol]));
/** IP_VS_CONN_F_MASQ: the kernel translates to the real server and back. */
const FORWARD_MASQUERADE = 0;
const ALL_BITS = 0xffff_ffff;

function u16(type: number, value: number): Attribute {
  const data = Buffer.alloc(2);
  if (LITTLE_ENDIAN) data.writeUInt16LE(value);
  else data.writeUInt16BE(value);
  return bytes(type, data);
}

/** union nf_inet_addr: 16 bytes, of which IPv4 uses the first four. */
function inetAddress(type: number, address: Uint8Array): Attribute {
  const data = Buffer.alloc(16);
  data.set(address);
  return bytes(type, data);
}

function identity({ protocol, address, port: number }: VirtualServerId): Attribute[] {
  const raw = parseIp(address);
  return [
    u16(SERVICE.family, raw.length === 4 ? AF_INET : AF_INET6),
    u16(SERVICE.protocol, PROTOCOL_NUMBERS[protocol]),
    inetAddress(SERVICE.address, raw),
    port(SERVICE.port, number),
  ];
}

/** A virtual server as it is to be. Each client address is a client of its own (netmask of all bits). */
export function encodeVirtualServer(server: VirtualServer): Attribute {
  return nested(ATTR_SERVICE, [
    ...identity(server),
    text(SERVICE.scheduler, server.scheduler),
    bytes(SERVICE.flags, Buffer.concat([u32Bytes(server.flags), u32Bytes(ALL_BITS)])),
    u32(SERVICE.timeout, server.timeoutSeconds),
    u32(SERVICE.netmask, server.address.includes(':') ? 128 : ALL_BITS),
  ]);
}

export function encodeVirtualServerId(server: VirtualServerId): Attribute {
  return nested(ATTR_SERVICE, identity(server));
}

export function encodeRealServer({ address, port: number, weight }: RealServer): Attribute {
  return nested(ATTR_DESTINATION, [
    inetAddress(DESTINATION.address, parseIp(address)),
    port(DESTINATION.port, number),
    u32(DESTINATION.forwarding, FORWARD_MASQUERADE),
    u32(DESTINATION.weight, weight),
    u32(DESTINATION.upperThreshold, 0),
    u32(DESTINATION.lowerThreshold, 0),
  ]);
}

export function encodeTimeouts({ tcpSeconds, tcpFinSeconds, udpSeconds }: IpvsTimeouts): Attribute[] {
  const one = (type: number, seconds: number | undefined) => (seconds ? [u32(type, seconds)] : []);
  return [
    ...one(ATTR_TIMEOUT_TCP, tcpSeconds),
    ...one(ATTR_TIMEOUT_TCP_FIN, tcpFinSeconds),
    ...one(ATTR_TIMEOUT_UDP, udpSeconds),
  ];
}

/** The virtual server of a GET_SERVICE answer; undefined for one that is found by packet mark, which has no address. */
export function decodeVirtualServer(body: Buffer): VirtualServer | undefined {
  const nest = readAttributes(body, GENERIC_HEADER_BYTES).get(ATTR_SERVICE);
  if (!nest) return undefined;
  const attributes = readAttributes(nest);
  const protocol = PROTOCOL_NAMES.get(numberOf(attributes.get(SERVICE.protocol), readU16));
  const address = attributes.get(SERVICE.address);
  if (!protocol || !address) return undefined;
  const scheduler = attributes.get(SERVICE.scheduler);
  const flags = numberOf(attributes.get(SERVICE.flags), readU32) & ~FLAG_HASHED;
  return {
    protocol,
    address: addressText(address, numberOf(attributes.get(SERVICE.family), readU16)),
    port: numberOf(attributes.get(SERVICE.port), (data) => data.readUInt16BE()),
    scheduler: scheduler ? scheduler.toString('utf8').replace(/\0.*$/, '') : '',
    flags,
    // The kernel keeps a number also where nothing is persistent.
    timeoutSeconds: flags & FLAG_PERSISTENT ? numberOf(attributes.get(SERVICE.timeout), readU32) : 0,
  };
}

/** The real server of a GET_DEST answer. `isV6` is its virtual server's family: older kernels do not say it of the real one. */
export function decodeRealServer(body: Buffer, isV6: boolean): RealServerState | undefined {
  const nest = readAttributes(body, GENERIC_HEADER_BYTES).get(ATTR_DESTINATION);
  const attributes = nest && readAttributes(nest);
  const address = attributes?.get(DESTINATION.address);
  if (!attributes || !address) return undefined;
  return {
    address: addressText(address, isV6 ? AF_INET6 : AF_INET),
    port: numberOf(attributes.get(DESTINATION.port), (data) => data.readUInt16BE()),
    weight: numberOf(attributes.get(DESTINATION.weight), readU32),
    activeConnections: numberOf(attributes.get(DESTINATION.active), readU32),
    inactiveConnections: numberOf(attributes.get(DESTINATION.inactive), readU32),
  };
}

function numberOf(data: Buffer | undefined, read: (data: Buffer) => number): number {
  return data ? read(data) : 0;
}

function addressText(data: Buffer, family: number): string {
  return family === AF_INET ? `${data[0]}.${data[1]}.${data[2]}.${data[3]}` : formatIp(data.subarray(0, 16));
}
