/** Messages of generic netlink family `wireguard`: numbers and layouts of linux/wireguard.h. */
import { parseAttributes } from 'netlink/dist/structs.js';
import { formatIp, ipFamily, parseIp, parsePrefix } from '../ip.ts';
import {
  type Attribute,
  bytes,
  LITTLE_ENDIAN,
  nested,
  readAttributes,
  readU16,
  readU32,
  text,
  u8,
  u16,
  u32,
} from './attributes.ts';
import { AF_INET, AF_INET6 } from './constants.ts';
import { GENERIC_HEADER_BYTES } from './generic.ts';

export const WG_CMD_GET_DEVICE = 0;
export const WG_CMD_SET_DEVICE = 1;

const WGDEVICE_A_IFNAME = 2;
const WGDEVICE_A_PRIVATE_KEY = 3;
const WGDEVICE_A_PUBLIC_KEY = 4;
const WGDEVICE_A_FLAGS = 5;
const WGDEVICE_A_LISTEN_PORT = 6;
const WGDEVICE_A_PEERS = 8;
const WGDEVICE_F_REPLACE_PEERS = 1;

const WGPEER_A_PUBLIC_KEY = 1;
const WGPEER_A_PRESHARED_KEY = 2;
const WGPEER_A_FLAGS = 3;
const WGPEER_A_ENDPOINT = 4;
const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL = 5;
const WGPEER_A_LAST_HANDSHAKE_TIME = 6;
const WGPEER_A_RX_BYTES = 7;
const WGPEER_A_TX_BYTES = 8;
const WGPEER_A_ALLOWEDIPS = 9;
const WGPEER_F_REMOVE_ME = 1;
const WGPEER_F_REPLACE_ALLOWEDIPS = 2;

const WGALLOWEDIP_A_FAMILY = 1;
const WGALLOWEDIP_A_IPADDR = 2;
const WGALLOWEDIP_A_CIDR_MASK = 3;

const KEY_BYTES = 32;

/** Keys are 32 bytes, in base64 as wg(8) writes them. */
export interface WireguardPeer {
  publicKey: string;
  presharedKey?: string;
  endpoint?: { address: string; port: number };
  /** 0: none. */
  keepaliveSeconds: number;
  /** CIDRs without host bits: what may come from it, and what goes to it. */
  allowedIps: readonly string[];
}

export interface WireguardPeerState extends WireguardPeer {
  /** Seconds since the epoch; 0 when there was none. */
  lastHandshakeSeconds: number;
  receivedBytes: number;
  sentBytes: number;
}

export interface WireguardDevice {
  publicKey?: string;
  listenPort: number;
  peers: WireguardPeerState[];
}

export interface WireguardChange {
  privateKey?: string;
  listenPort?: number;
  /** Written over those of the same key, allowed addresses as a whole; an absent endpoint stays as it is. */
  put?: readonly WireguardPeer[];
  /** Public keys. */
  remove?: readonly string[];
  /** All peers that are not in `put` go. */
  replacesPeers?: boolean;
}

export function encodeDeviceName(name: string): Attribute {
  return text(WGDEVICE_A_IFNAME, name);
}

export function encodeWireguardChange(name: string, change: WireguardChange): Attribute[] {
  const peers = [
    ...(change.remove ?? []).map((key) => [key32(WGPEER_A_PUBLIC_KEY, key), u32(WGPEER_A_FLAGS, WGPEER_F_REMOVE_ME)]),
    ...(change.put ?? []).map(encodePeer),
  ];
  return [
    encodeDeviceName(name),
    ...(change.privateKey === undefined ? [] : [key32(WGDEVICE_A_PRIVATE_KEY, change.privateKey)]),
    ...(change.listenPort === undefined ? [] : [u16(WGDEVICE_A_LISTEN_PORT, change.listenPort)]),
    ...(change.replacesPeers ? [u32(WGDEVICE_A_FLAGS, WGDEVICE_F_REPLACE_PEERS)] : []),
    ...(peers.length === 0
      ? []
      : [
          nested(
            WGDEVICE_A_PEERS,
            peers.map((peer) => nested(0, peer)),
          ),
        ]),
  ];
}

function encodePeer(peer: WireguardPeer): Attribute[] {
  return [
    key32(WGPEER_A_PUBLIC_KEY, peer.publicKey),
    u32(WGPEER_A_FLAGS, WGPEER_F_REPLACE_ALLOWEDIPS),
    // A key of zeros takes an earlier one away.
    peer.presharedKey === undefined
      ? bytes(WGPEER_A_PRESHARED_KEY, Buffer.alloc(KEY_BYTES))
      : key32(WGPEER_A_PRESHARED_KEY, peer.presharedKey),
    ...(peer.endpoint === undefined ? [] : [bytes(WGPEER_A_ENDPOINT, encodeSocketAddress(peer.endpoint))]),
    u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, peer.keepaliveSeconds),
    nested(
      WGPEER_A_ALLOWEDIPS,
      peer.allowedIps.map((cidr) => nested(0, encodeAllowedIp(cidr))),
    ),
  ];
}

function encodeAllowedIp(cidr: string): Attribute[] {
  const { family, address, prefixLength } = parsePrefix(cidr);
  return [
    u16(WGALLOWEDIP_A_FAMILY, family === 4 ? AF_INET : AF_INET6),
    bytes(WGALLOWEDIP_A_IPADDR, address),
    u8(WGALLOWEDIP_A_CIDR_MASK, prefixLength),
  ];
}

/** struct sockaddr_in or sockaddr_in6: the port in network order. */
function encodeSocketAddress({ address, port }: { address: string; port: number }): Buffer {
  const family = ipFamily(address);
  const buffer = Buffer.alloc(family === 4 ? 16 : 28);
  const number = family === 4 ? AF_INET : AF_INET6;
  if (LITTLE_ENDIAN) buffer.writeUInt16LE(number, 0);
  else buffer.writeUInt16BE(number, 0);
  buffer.writeUInt16BE(port, 2);
  buffer.set(parseIp(address), family === 4 ? 4 : 8);
  return buffer;
}

function decodeSocketAddress(data: Buffer): { address: string; port: number } {
  const address = readU16(data) === AF_INET ? data.subarray(4, 8) : data.subarray(8, 24);
  return { address: formatIp(address), port: data.readUInt16BE(2) };
}

/** The messages of one dump. A device with many peers takes several; a peer with many addresses goes on in the next. */
export function decodeWireguardDevice(bodies: readonly Buffer[]): WireguardDevice {
  const device: WireguardDevice = { listenPort: 0, peers: [] };
  for (const body of bodies) {
    const attributes = readAttributes(body, GENERIC_HEADER_BYTES);
    const publicKey = attributes.get(WGDEVICE_A_PUBLIC_KEY);
    if (publicKey) device.publicKey = publicKey.toString('base64');
    const port = attributes.get(WGDEVICE_A_LISTEN_PORT);
    if (port) device.listenPort = readU16(port);
    for (const data of items(attributes.get(WGDEVICE_A_PEERS))) {
      const peer = decodePeer(data);
      const last = device.peers.at(-1);
      if (last?.publicKey === peer.publicKey) last.allowedIps = [...last.allowedIps, ...peer.allowedIps];
      else device.peers.push(peer);
    }
  }
  return device;
}

function decodePeer(data: Buffer): WireguardPeerState {
  const attributes = readAttributes(data);
  const number = (type: number) => {
    const value = attributes.get(type);
    return value ? readU64(value) : 0;
  };
  const presharedKey = attributes.get(WGPEER_A_PRESHARED_KEY);
  const endpoint = attributes.get(WGPEER_A_ENDPOINT);
  const keepalive = attributes.get(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL);
  return {
    publicKey: attributes.get(WGPEER_A_PUBLIC_KEY)!.toString('base64'),
    ...(presharedKey?.some((byte) => byte !== 0) && { presharedKey: presharedKey.toString('base64') }),
    ...(endpoint && { endpoint: decodeSocketAddress(endpoint) }),
    keepaliveSeconds: keepalive ? readU16(keepalive) : 0,
    allowedIps: items(attributes.get(WGPEER_A_ALLOWEDIPS)).map((item) => {
      const allowed = readAttributes(item);
      return `${formatIp(allowed.get(WGALLOWEDIP_A_IPADDR)!)}/${allowed.get(WGALLOWEDIP_A_CIDR_MASK)![0]}`;
    }),
    lastHandshakeSeconds: number(WGPEER_A_LAST_HANDSHAKE_TIME),
    receivedBytes: number(WGPEER_A_RX_BYTES),
    sentBytes: number(WGPEER_A_TX_BYTES),
  };
}

/** Lists have all their entries under one type, so that a map would keep the last one only. */
function items(list: Buffer | undefined): Buffer[] {
  const found: Buffer[] = [];
  if (list) parseAttributes(list, ({ data }) => void found.push(data));
  return found;
}

function readU64(buffer: Buffer): number {
  const [low, high] = LITTLE_ENDIAN
    ? [readU32(buffer, 0), readU32(buffer, 4)]
    : [readU32(buffer, 4), readU32(buffer, 0)];
  return high * 2 ** 32 + low;
}

function key32(type: number, base64: string): Attribute {
  const key = Buffer.from(base64, 'base64');
  if (key.length !== KEY_BYTES) throw new Error('a WireGuard key has 32 bytes in base64');
  return bytes(type, key);
}
