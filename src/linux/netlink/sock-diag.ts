import { u32Bytes } from './attributes.ts';
import { AF_INET, AF_INET6, NLM_F_DUMP } from './constants.ts';
import { isNetlinkError, openNetlinkSocket } from './socket.ts';

const NETLINK_SOCK_DIAG = 4;
/** linux/sock_diag.h, inet_diag.h. */
const SOCK_DIAG_BY_FAMILY = 20;
const REQUEST_BYTES = 56;
const SOURCE_PORT_AT = 4;
const PROTOCOLS = { TCP: 6, UDP: 17 } as const;
/** States of the kernel's TCP: LISTEN; a UDP socket that waits for anybody is in CLOSE. */
const STATES = { TCP: 1 << 10, UDP: 1 << 7 } as const;

/**
 * The ports of a network namespace on which processes wait for clients, of both IP families. The kernel picks them out, so that the cost
 * follows the listeners, not the connections.
 */
export async function listListeningPorts(protocol: keyof typeof PROTOCOLS, netns?: string): Promise<Set<number>> {
  const socket = openNetlinkSocket(NETLINK_SOCK_DIAG, netns);
  const ports = new Set<number>();
  try {
    for (const family of [AF_INET, AF_INET6]) {
      const request = Buffer.alloc(REQUEST_BYTES);
      request.set([family, PROTOCOLS[protocol]]);
      request.set(u32Bytes(STATES[protocol]), 4);
      await socket
        .request({
          operation: `list ${protocol} listeners`,
          type: SOCK_DIAG_BY_FAMILY,
          flags: NLM_F_DUMP,
          body: [request],
          onBody: (body) => void ports.add(body.readUInt16BE(SOURCE_PORT_AT)),
        })
        .catch((error) => {
          // No IPv6, or no udp_diag.
          if (!isNetlinkError(error, 'ENOENT')) throw error;
        });
    }
  } finally {
    socket.close();
  }
  return ports;
}
