import { parseAttributes } from 'netlink/dist/structs.js';
import { formatIp, parseIp, parsePrefix } from '../linux/ip.ts';
import { LITTLE_ENDIAN, readAttributes, readText } from '../linux/netlink/attributes.ts';
import { AF_INET, AF_INET6 } from '../linux/netlink/constants.ts';
import type { IpFamily } from './tables.ts';

/** The types of sets that are used. An element is written as `ipset list` prints it, a network always with its length. */
export const SET_TYPES = {
  /** `10.0.0.1` */
  'hash:ip': { revision: 4 },
  /** `10.0.0.1,tcp:80` */
  'hash:ip,port': { revision: 5 },
  /** `10.0.0.1,tcp:80,10.0.0.2` */
  'hash:ip,port,ip': { revision: 5 },
  /** `10.0.0.1,tcp:80,192.168.0.0/16` */
  'hash:ip,port,net': { revision: 7 },
  /** `30080` */
  'bitmap:port': { revision: 3 },
} as const;

export type SetType = keyof typeof SET_TYPES;

export interface SetSpec {
  /** At most 31 characters. */
  name: string;
  type: SetType;
  /** Of no meaning for `bitmap:port`. */
  family: IpFamily;
  /** What the set holds at most; the kernel's own default is 65,536. */
  maxElements: number;
}

/** A set as the kernel shows it. */
export interface SetHeader {
  name: string;
  /** Also types that are not ours. */
  type: string;
  family?: IpFamily;
  /** Undefined for types without such a limit. */
  maxElements?: number;
  /** Undefined on kernels before 4.10, which do not count. */
  elements?: number;
}

/** Numbers of linux/netfilter/ipset/ip_set.h. */
export const COMMAND = { create: 2, destroy: 3, swap: 6, list: 7, add: 9, delete: 10, type: 13 } as const;
export const ATTR = {
  protocol: 1,
  setName: 2,
  typeName: 3,
  setName2: 3,
  revision: 4,
  family: 5,
  flags: 6,
  data: 7,
  elements: 8,
  lineNumber: 9,
} as const;
/** What elements are made of. */
const ELEMENT = { ip: 1, port: 4, portTo: 5, protocol: 7, ip2: 20, cidr2: 21 } as const;
/** What sets are made of, beside ports. */
const CREATE = { hashSize: 18, maxElements: 19, elements: 24 } as const;
const IPADDR_V4 = 1;
const IPADDR_V6 = 2;
const NESTED = 0x8000;
const NETWORK_ORDER = 0x4000;

export const FLAG_LIST_HEADER = 1 << 2;
/** Spoken by every kernel since 2.6.39; version 7 adds nothing that is needed here. */
const PROTOCOL_VERSION = 6;
const HASH_SIZE = 1024;
const LAST_PORT = 65_535;

const PROTOCOL_NUMBERS = new Map([
  ['tcp', 6],
  ['udp', 17],
  ['sctp', 132],
]);
const PROTOCOL_NAMES = new Map([...PROTOCOL_NUMBERS].map(([name, number]) => [number, name]));

/** An attribute by hand: a sync may write 100,000 elements of five attributes each. `type` carries its flags. */
export function rawAttribute(type: number, ...parts: Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 4);
  const buffer = Buffer.alloc((length + 3) & ~3);
  if (LITTLE_ENDIAN) {
    buffer.writeUInt16LE(length);
    buffer.writeUInt16LE(type, 2);
  } else {
    buffer.writeUInt16BE(length);
    buffer.writeUInt16BE(type, 2);
  }
  let offset = 4;
  for (const part of parts) {
    buffer.set(part, offset);
    offset += part.length;
  }
  return buffer;
}

function be32(type: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32BE(value);
  return rawAttribute(type | NETWORK_ORDER, data);
}

function be16(type: number, value: number): Buffer {
  return rawAttribute(type | NETWORK_ORDER, Buffer.from([value >> 8, value & 0xff]));
}

function address(type: number, raw: Uint8Array): Buffer {
  return rawAttribute(type | NESTED, rawAttribute((raw.length === 4 ? IPADDR_V4 : IPADDR_V6) | NETWORK_ORDER, raw));
}

export function familyNumber(family: IpFamily): number {
  return family === 'IPv4' ? AF_INET : AF_INET6;
}

/** nfgenmsg and the version, with which every message begins. */
export function encodeHead(...attributes: Uint8Array[]): Uint8Array[] {
  return [Buffer.alloc(4), rawAttribute(ATTR.protocol, Buffer.from([PROTOCOL_VERSION])), ...attributes];
}

export function encodeName(type: number, name: string): Buffer {
  return rawAttribute(type, Buffer.from(`${name}\0`));
}

/** Asks for headers only. */
export function encodeFlags(flags: number): Buffer {
  return be32(ATTR.flags, flags);
}

export function encodeSet({ name, type, family, maxElements }: SetSpec, revision: number): Uint8Array[] {
  const isBitmap = type === 'bitmap:port';
  const data = isBitmap
    ? [be16(ELEMENT.port, 0), be16(ELEMENT.portTo, LAST_PORT)]
    : [be32(CREATE.hashSize, HASH_SIZE), be32(CREATE.maxElements, maxElements)];
  return encodeHead(
    encodeName(ATTR.setName, name),
    encodeName(ATTR.typeName, type),
    rawAttribute(ATTR.revision, Buffer.from([revision])),
    rawAttribute(ATTR.family, Buffer.from([isBitmap ? 0 : familyNumber(family)])),
    rawAttribute(ATTR.data | NESTED, ...data),
  );
}

/** Several elements for one message (some 40 to 90 bytes each; an attribute ends at 64 KiB). */
export function encodeElements(name: string, type: SetType, elements: readonly string[]): Uint8Array[] {
  const encoded = elements.map((element) => rawAttribute(ATTR.data | NESTED, ...elementParts(type, element)));
  return encodeHead(
    encodeName(ATTR.setName, name),
    // The kernel refuses several elements without it. Its value is for messages of ipset(8).
    rawAttribute(ATTR.lineNumber, Buffer.alloc(4)),
    rawAttribute(ATTR.elements | NESTED, ...encoded),
  );
}

function elementParts(type: SetType, element: string): Buffer[] {
  if (type === 'bitmap:port') return [be16(ELEMENT.port, Number(element))];
  const [ip = '', protocolAndPort = '', third = ''] = element.split(',');
  const parts = [address(ELEMENT.ip, parseIp(ip))];
  if (type === 'hash:ip') return parts;
  const [protocol = '', port = ''] = protocolAndPort.split(':');
  const number = PROTOCOL_NUMBERS.get(protocol);
  if (number === undefined) throw new Error(`ipset: ${JSON.stringify(element)} has no protocol that is known`);
  parts.push(be16(ELEMENT.port, Number(port)), rawAttribute(ELEMENT.protocol, Buffer.from([number])));
  if (type === 'hash:ip,port,ip') parts.push(address(ELEMENT.ip2, parseIp(third)));
  if (type === 'hash:ip,port,net') {
    const prefix = parsePrefix(third);
    parts.push(address(ELEMENT.ip2, prefix.address), rawAttribute(ELEMENT.cidr2, Buffer.from([prefix.prefixLength])));
  }
  return parts;
}

/** The header in one part of a LIST answer; undefined for a part that has elements only. */
export function decodeHeader(body: Buffer): SetHeader | undefined {
  const attributes = readAttributes(body, 4);
  const name = attributes.get(ATTR.setName);
  const type = attributes.get(ATTR.typeName);
  if (!name || !type) return undefined;
  const data = attributes.get(ATTR.data);
  const details = data ? readAttributes(data) : new Map<number, Buffer>();
  const number = (one: number) => details.get(one)?.readUInt32BE();
  const family = attributes.get(ATTR.family)?.[0];
  return {
    name: readText(name),
    type: readText(type),
    family: family === AF_INET ? 'IPv4' : family === AF_INET6 ? 'IPv6' : undefined,
    maxElements: number(CREATE.maxElements),
    elements: number(CREATE.elements),
  };
}

/** The elements in one part of a LIST answer. */
export function decodeElements(body: Buffer, type: SetType): string[] {
  const list = readAttributes(body, 4).get(ATTR.elements);
  const elements: string[] = [];
  if (list) parseAttributes(list, ({ data }) => elements.push(elementText(readAttributes(data), type)));
  return elements;
}

function elementText(parts: Map<number, Buffer>, type: SetType): string {
  const port = parts.get(ELEMENT.port)?.readUInt16BE() ?? 0;
  if (type === 'bitmap:port') return String(port);
  const ip = addressText(parts.get(ELEMENT.ip));
  if (type === 'hash:ip') return ip;
  const protocol = parts.get(ELEMENT.protocol)?.[0] ?? 0;
  const start = `${ip},${PROTOCOL_NAMES.get(protocol) ?? protocol}:${port}`;
  if (type === 'hash:ip,port') return start;
  const third = addressText(parts.get(ELEMENT.ip2));
  if (type === 'hash:ip,port,ip') return `${start},${third}`;
  return `${start},${third}/${parts.get(ELEMENT.cidr2)?.[0] ?? (third.includes(':') ? 128 : 32)}`;
}

function addressText(nest: Buffer | undefined): string {
  const nested = nest && readAttributes(nest);
  const v4 = nested?.get(IPADDR_V4);
  if (v4) return `${v4[0]}.${v4[1]}.${v4[2]}.${v4[3]}`;
  const v6 = nested?.get(IPADDR_V6);
  return v6 ? formatIp(v6) : '';
}
