import { formatIp, ipFamily, parseIp } from '../ip.ts';
import { bytes, LITTLE_ENDIAN, readAttributes, readI32, readU16 } from './attributes.ts';
import { AF_INET, AF_INET6, NDA_DST, NDA_LLADDR, NEIGHBOUR_STATES } from './constants.ts';
import { formatMac, parseMac } from './links.ts';

export type NeighbourState = keyof typeof NEIGHBOUR_STATES;

/** An entry of the ARP or NDP table. */
export interface Neighbour {
  linkIndex: number;
  address: string;
  mac?: string;
  state: NeighbourState;
}

const STATE_NAMES = new Map<number, NeighbourState>(
  Object.entries(NEIGHBOUR_STATES).map(([name, number]) => [number, name as NeighbourState]),
);

/** struct ndmsg and attributes. */
export function encodeNeighbour(entry: {
  linkIndex: number;
  address: string;
  mac?: string;
  state?: NeighbourState;
}): Uint8Array[] {
  const header = Buffer.alloc(12);
  header[0] = ipFamily(entry.address) === 4 ? AF_INET : AF_INET6;
  const state = NEIGHBOUR_STATES[entry.state ?? 'permanent'];
  if (LITTLE_ENDIAN) {
    header.writeInt32LE(entry.linkIndex, 4);
    header.writeUInt16LE(state, 8);
  } else {
    header.writeInt32BE(entry.linkIndex, 4);
    header.writeUInt16BE(state, 8);
  }
  return [
    header,
    ...bytes(NDA_DST, parseIp(entry.address)),
    ...(entry.mac === undefined ? [] : bytes(NDA_LLADDR, parseMac(entry.mac))),
  ];
}

export function decodeNeighbour(body: Buffer): Neighbour | undefined {
  if (body[0] !== AF_INET && body[0] !== AF_INET6) return undefined;
  const attributes = readAttributes(body, 12);
  const address = attributes.get(NDA_DST);
  if (!address) return undefined;
  const mac = attributes.get(NDA_LLADDR);
  return {
    linkIndex: readI32(body, 4),
    address: formatIp(address),
    mac: mac?.length === 6 ? formatMac(mac) : undefined,
    state: STATE_NAMES.get(readU16(body, 8)) ?? 'none',
  };
}
