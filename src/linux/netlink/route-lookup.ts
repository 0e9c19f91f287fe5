import { formatIp, type IpPrefix, ipFamily, networkOf, parseIp } from '../ip.ts';
import { bytes, LITTLE_ENDIAN, readAttributes, readU32 } from './attributes.ts';
import {
  AF_INET,
  AF_INET6,
  ROUTE_TYPES,
  RTA_DST,
  RTA_GATEWAY,
  RTA_OIF,
  RTA_PREFSRC,
  RTM_F_FIB_MATCH,
  RTM_GETROUTE,
} from './constants.ts';
import type { Rtnetlink } from './rtnetlink.ts';
import { isNetlinkError } from './socket.ts';

/** Where a packet would go. */
export interface RouteLookup {
  /** The address is this machine's own. */
  local: boolean;
  linkIndex?: number;
  /** undefined: the address is reached without a router. */
  gateway?: string;
  /** The source that the kernel would choose. */
  source?: string;
}

/**
 * The way that a packet to `address` would take, as `ip route get` tells it: one message however many routes there are.
 * @returns undefined when there is none, or one that refuses.
 */
export async function lookUpRoute(
  netlink: Pick<Rtnetlink, 'request'>,
  address: string,
): Promise<RouteLookup | undefined> {
  const body = await request(netlink, address, 0);
  return body && decodeLookup(body);
}

/** The route itself by which a packet would go. */
export interface MatchedRoute {
  destination: IpPrefix;
  linkIndex?: number;
  local: boolean;
}

/** The route that a packet to `address` would take, of all tables and by all rules. @returns as `lookUpRoute` */
export async function matchRoute(
  netlink: Pick<Rtnetlink, 'request'>,
  address: string,
): Promise<MatchedRoute | undefined> {
  const body = await request(netlink, address, RTM_F_FIB_MATCH);
  const found = body && decodeLookup(body);
  if (!found) return undefined;
  const raw = parseIp(address);
  const prefix = { family: ipFamily(raw), address: raw, prefixLength: body[1]! };
  return { destination: networkOf(prefix), linkIndex: found.linkIndex, local: found.local };
}

async function request(
  netlink: Pick<Rtnetlink, 'request'>,
  address: string,
  flags: number,
): Promise<Buffer | undefined> {
  const raw = parseIp(address);
  // struct rtmsg
  const header = Buffer.alloc(12);
  header[0] = ipFamily(raw) === 4 ? AF_INET : AF_INET6;
  header[1] = raw.length * 8;
  if (LITTLE_ENDIAN) header.writeUInt32LE(flags, 8);
  else header.writeUInt32BE(flags, 8);
  try {
    const [body] = await netlink.request({
      operation: `look up the route to ${address}`,
      type: RTM_GETROUTE,
      body: [header, ...bytes(RTA_DST, raw)],
    });
    return body;
  } catch (error) {
    // What a route of type unreachable, prohibit or blackhole answers, and the lack of any.
    if (isNetlinkError(error, 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL')) return undefined;
    throw error;
  }
}

function decodeLookup(body: Buffer): RouteLookup | undefined {
  const type = body[7];
  // IPv6 answers with the refusing route where IPv4 answers with an error.
  if (type !== ROUTE_TYPES.unicast && type !== ROUTE_TYPES.local) return undefined;
  const attributes = readAttributes(body, 12);
  const ip = (one: number) => (attributes.has(one) ? formatIp(attributes.get(one)!) : undefined);
  const link = attributes.get(RTA_OIF);
  return {
    local: type === ROUTE_TYPES.local,
    linkIndex: link && readU32(link),
    gateway: ip(RTA_GATEWAY),
    source: ip(RTA_PREFSRC),
  };
}
