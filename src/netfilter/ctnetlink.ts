import { nested, readU16, u8, u32 } from '../linux/netlink/attributes.ts';
import { AF_INET, AF_INET6, NLM_F_DUMP } from '../linux/netlink/constants.ts';
import { isNetlinkError, type NetlinkSocket, openNetlinkSocket } from '../linux/netlink/socket.ts';
import { genericHeader, messageType, NETLINK_NETFILTER, NFNL_SUBSYS_CTNETLINK } from './nfnetlink/message.ts';
import type { IpFamily } from './tables.ts';

/** A UDP flow as the kernel tracks it: where the client sent to, and who answers. Addresses in the spelling of RFC 5952. */
export interface UdpFlow {
  destination: string;
  destinationPort: number;
  /** Source of the reply direction: the endpoint where the flow is translated, else the destination itself. */
  replySource: string;
  replySourcePort: number;
}

/** The kernel's connection tracking table, as far as the proxy needs it. */
export interface Conntrack {
  /**
   * Makes the kernel forget the UDP flows that `isStale` picks: one dump of the family's UDP flows, then their deletions in bulk.
   * A flow that has ended or changed meanwhile is left alone.
   * @returns how many were deleted
   * @throws NetlinkError when the kernel refuses (EPERM without CAP_NET_ADMIN)
   */
  deleteUdpFlows(family: IpFamily, isStale: (flow: UdpFlow) => boolean, signal?: AbortSignal): Promise<number>;
}

/** IPCTNL_MSG_CT_GET, …_DELETE (linux/netfilter/nfnetlink_conntrack.h). */
const CT_GET = messageType(NFNL_SUBSYS_CTNETLINK, 1);
const CT_DELETE = messageType(NFNL_SUBSYS_CTNETLINK, 2);
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
/** CTA_FILTER_FLAG(CTA_PROTO_NUM). */
const FILTER_BY_PROTOCOL = 1 << 3;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V6_SRC = 3;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const IPPROTO_UDP = 17;
const NFGENMSG_BYTES = 4;
/** So many deletions are on their way to the kernel at a time; between them the event loop turns. */
const DELETIONS_AT_ONCE = 256;

/** Conntrack by netlink, in a namespace. No process is started, whatever the number of flows. */
export function createConntrack(options: { netns?: string } = {}): Conntrack {
  return {
    async deleteUdpFlows(family, isStale, signal) {
      const socket = openNetlinkSocket(NETLINK_NETFILTER, options.netns);
      try {
        const stale = await findUdpFlows(socket, family, isStale);
        signal?.throwIfAborted();
        return await deleteFlows(socket, family, stale, signal);
      } finally {
        socket.close();
      }
    },
  };
}

/**
 * @returns what identifies each picked flow in a deletion. Kernels from 5.8 on hand over UDP only, older ones everything.
 * A dump that the kernel cannot finish in peace (the table was resized all the time) counts with what it has brought.
 */
async function findUdpFlows(
  socket: NetlinkSocket,
  family: IpFamily,
  isStale: (flow: UdpFlow) => boolean,
): Promise<Buffer[]> {
  const found = new Map<string, Buffer>();
  const protocol = nested(CTA_TUPLE_PROTO, [u8(CTA_PROTO_NUM, IPPROTO_UDP)]);
  const filter = nested(CTA_FILTER, [u32(CTA_FILTER_ORIG_FLAGS, FILTER_BY_PROTOCOL), u32(CTA_FILTER_REPLY_FLAGS, 0)]);
  try {
    await socket.request({
      operation: 'list UDP flows',
      type: CT_GET,
      flags: NLM_F_DUMP,
      body: [header(family), ...nested(CTA_TUPLE_ORIG, [protocol]), ...filter],
      onBody(body) {
        const entry = parseUdpEntry(body);
        if (entry && isStale(entry.flow)) found.set(entry.identity.toString('latin1'), entry.identity);
      },
    });
  } catch (error) {
    if (!isNetlinkError(error, 'EINTR')) throw error;
  }
  return [...found.values()];
}

async function deleteFlows(
  socket: NetlinkSocket,
  family: IpFamily,
  identities: readonly Buffer[],
  signal?: AbortSignal,
): Promise<number> {
  let deleted = 0;
  for (let start = 0; start < identities.length; start += DELETIONS_AT_ONCE) {
    signal?.throwIfAborted();
    const outcomes = await Promise.all(
      identities.slice(start, start + DELETIONS_AT_ONCE).map((identity) =>
        socket.request({ operation: 'delete a UDP flow', type: CT_DELETE, body: [header(family), identity] }).then(
          () => 1,
          (error) => {
            // It has timed out by itself meanwhile, or another has taken its place.
            if (isNetlinkError(error, 'ENOENT')) return 0;
            throw error;
          },
        ),
      ),
    );
    for (const outcome of outcomes) deleted += outcome;
  }
  return deleted;
}

function header(family: IpFamily): Buffer {
  return genericHeader(family === 'IPv4' ? AF_INET : AF_INET6);
}

interface UdpEntry {
  flow: UdpFlow;
  /** The attributes with which the kernel finds this entry and no other: tuple, zone, id. */
  identity: Buffer;
}

/** One entry of a dump; undefined when it is of another protocol. Reads in place: a busy DNS node tracks 100,000 flows. */
export function parseUdpEntry(body: Buffer): UdpEntry | undefined {
  let original: Tuple | undefined;
  let reply: Tuple | undefined;
  const identity: Buffer[] = [];
  for (const { type, start, end, padded } of attributesOf(body, NFGENMSG_BYTES, body.length)) {
    if (type === CTA_TUPLE_ORIG) {
      original = parseTuple(body, start, end);
      if (!original) return undefined;
    } else if (type === CTA_TUPLE_REPLY) reply = parseTuple(body, start, end);
    else if (type !== CTA_ZONE && type !== CTA_ID) continue;
    if (type !== CTA_TUPLE_REPLY) identity.push(body.subarray(start - ATTRIBUTE_HEADER_BYTES, padded));
  }
  if (!original || !reply) return undefined;
  return {
    flow: {
      destination: original.destination,
      destinationPort: original.destinationPort,
      replySource: reply.source,
      replySourcePort: reply.sourcePort,
    },
    identity: Buffer.concat(identity),
  };
}

interface Tuple {
  source: string;
  destination: string;
  sourcePort: number;
  destinationPort: number;
}

function parseTuple(body: Buffer, from: number, to: number): Tuple | undefined {
  const tuple: Tuple = { source: '', destination: '', sourcePort: 0, destinationPort: 0 };
  for (const group of attributesOf(body, from, to))
    for (const { type, start, end } of attributesOf(body, group.start, group.end))
      if (group.type === CTA_TUPLE_IP) {
        const address = end - start === 4 ? ipv4(body, start) : ipv6(body, start);
        if (type === CTA_IP_V4_SRC || type === CTA_IP_V6_SRC) tuple.source = address;
        else tuple.destination = address;
      } else if (group.type === CTA_TUPLE_PROTO) {
        if (type === CTA_PROTO_NUM && body[start] !== IPPROTO_UDP) return undefined;
        if (type === CTA_PROTO_SRC_PORT) tuple.sourcePort = body.readUInt16BE(start);
        if (type === CTA_PROTO_DST_PORT) tuple.destinationPort = body.readUInt16BE(start);
      }
  return tuple;
}

const ATTRIBUTE_HEADER_BYTES = 4;
/** Without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const ATTRIBUTE_TYPE = 0x3fff;

function* attributesOf(body: Buffer, from: number, to: number) {
  for (let at = from; at + ATTRIBUTE_HEADER_BYTES <= to; ) {
    const length = readU16(body, at);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > to) throw new Error('conntrack: a torn netlink message');
    const padded = Math.min(at + ((length + 3) & ~3), to);
    const start = at + ATTRIBUTE_HEADER_BYTES;
    yield { type: readU16(body, at + 2) & ATTRIBUTE_TYPE, start, end: at + length, padded };
    at = padded;
  }
}

function ipv4(body: Buffer, at: number): string {
  return `${body[at]}.${body[at + 1]}.${body[at + 2]}.${body[at + 3]}`;
}

/** The longest run of zeros is left out, the first of equals, no single one (RFC 5952). */
function ipv6(body: Buffer, at: number): string {
  const groups = Array.from({ length: 8 }, (_, index) => body.readUInt16BE(at + 2 * index));
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (best.start < 0) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}
