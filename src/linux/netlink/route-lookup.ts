import { ipFamily, parseIp } from '../ip.ts';
import { bytes } from './attributes.ts';
import { AF_INET, AF_INET6, RTA_DST, RTM_GETROUTE } from './constants.ts';
import { decodeLookup, type RouteLookup } from './routes.ts';
import type { Rtnetlink } from './rtnetlink.ts';
import { isNetlinkError } from './socket.ts';

/** Says that the answer may be a route of the table itself, so that IPv6's is not marked as a copy. */
const RTM_F_FIB_MATCH = 0x2000;

/**
 * The route that a packet to `address` would take, as `ip route get` tells it: one message however many routes there are.
 * @returns undefined when there is none (or one that refuses).
 */
export async function lookUpRoute(
  netlink: Pick<Rtnetlink, 'request'>,
  address: string,
): Promise<RouteLookup | undefined> {
  const raw = parseIp(address);
  const header = Buffer.alloc(12);
  header[0] = ipFamily(raw) === 4 ? AF_INET : AF_INET6;
  header[1] = raw.length * 8;
  header.writeUInt32LE(RTM_F_FIB_MATCH * 0, 8);
  try {
    const [body] = await netlink.request({
      operation: `look up the route to ${address}`,
      type: RTM_GETROUTE,
      body: [header, ...bytes(RTA_DST, raw)],
    });
    return body && decodeLookup(body);
  } catch (error) {
    if (isNetlinkError(error, 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL')) return undefined;
    throw error;
  }
}
