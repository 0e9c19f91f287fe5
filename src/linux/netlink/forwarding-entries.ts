import { formatIp, parseIp } from '../ip.ts';
import { bytes, LITTLE_ENDIAN, readAttributes, readI32, readU16 } from './attributes.ts';
import {
  NDA_DST,
  NDA_LLADDR,
  NEIGHBOUR_STATES,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './constants.ts';
import { formatMac, linkHeader, parseMac } from './links.ts';
import type { Rtnetlink } from './rtnetlink.ts';

const AF_BRIDGE = 7;
/** The entry is of the device's own table, not of a bridge above it. */
const NTF_SELF = 0x02;

/** An entry of a VXLAN device's forwarding table: frames to `mac` go to the host `destination`. */
export interface ForwardingEntry {
  linkIndex: number;
  mac: string;
  destination: string;
}

/** As the kernel shows it. */
export interface ForwardingState extends Omit<ForwardingEntry, 'destination'> {
  /** undefined for an entry without an address of its own (of a bridge's port, say). */
  destination?: string;
  /** Written by somebody; others were learned, and age. */
  permanent: boolean;
}

type Netlink = Pick<Rtnetlink, 'request'>;

/** One device's table. */
export async function listForwardingEntries(netlink: Netlink, linkIndex: number): Promise<ForwardingState[]> {
  const bodies = await netlink.request({
    operation: `list forwarding entries of link ${linkIndex}`,
    type: RTM_GETNEIGH,
    flags: NLM_F_DUMP,
    // struct ifinfomsg: of the two headers that the kernel takes here, the one by which it leaves out other devices.
    body: [withFamily(linkHeader(linkIndex))],
  });
  return bodies.map(decodeEntry).filter((entry) => entry?.linkIndex === linkIndex) as ForwardingState[];
}

/** Adds, or gives the MAC another destination; permanent. */
export async function setForwardingEntry(netlink: Netlink, entry: ForwardingEntry): Promise<void> {
  await netlink.request({
    operation: `set forwarding entry ${entry.mac} to ${entry.destination} on link ${entry.linkIndex}`,
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: encodeEntry(entry),
  });
}

/** ENOENT when there is none. */
export async function deleteForwardingEntry(netlink: Netlink, entry: ForwardingEntry): Promise<void> {
  await netlink.request({
    operation: `delete forwarding entry ${entry.mac} of link ${entry.linkIndex}`,
    type: RTM_DELNEIGH,
    body: encodeEntry(entry),
  });
}

/** struct ndmsg and attributes. */
function encodeEntry({ linkIndex, mac, destination }: ForwardingEntry): Uint8Array[] {
  const header = withFamily(Buffer.alloc(12));
  if (LITTLE_ENDIAN) {
    header.writeInt32LE(linkIndex, 4);
    header.writeUInt16LE(NEIGHBOUR_STATES.permanent, 8);
  } else {
    header.writeInt32BE(linkIndex, 4);
    header.writeUInt16BE(NEIGHBOUR_STATES.permanent, 8);
  }
  header[10] = NTF_SELF;
  return [header, ...bytes(NDA_DST, parseIp(destination)), ...bytes(NDA_LLADDR, parseMac(mac))];
}

function decodeEntry(body: Buffer): ForwardingState | undefined {
  const attributes = readAttributes(body, 12);
  const mac = attributes.get(NDA_LLADDR);
  if (body[0] !== AF_BRIDGE || mac?.length !== 6) return undefined;
  const destination = attributes.get(NDA_DST);
  return {
    linkIndex: readI32(body, 4),
    mac: formatMac(mac),
    destination: destination && formatIp(destination),
    permanent: (readU16(body, 8) & NEIGHBOUR_STATES.permanent) !== 0,
  };
}

function withFamily(header: Buffer): Buffer {
  header[0] = AF_BRIDGE;
  return header;
}
