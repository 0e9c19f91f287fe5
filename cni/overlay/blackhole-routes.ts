import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { ROUTE_PROTOCOL } from '../node/route-protocol.ts';

/** Behind every real route: it takes what the pods' bridge does not (a node without one yet). */
const LAST_RESORT_METRIC = 4_278_198_272;

/** `--ip-blackhole-route`: what is for this node's pods and finds no bridge ends here, and does not go back to where it came from. Idempotent. */
export async function applyBlackholes(netlink: Rtnetlink, podCidrs: readonly string[]): Promise<void> {
  for (const destination of podCidrs)
    await netlink.replaceRoute({
      type: 'blackhole',
      destination,
      metric: LAST_RESORT_METRIC,
      protocol: ROUTE_PROTOCOL.overlay,
    });
}
