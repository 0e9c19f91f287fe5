/**
 * Route protocol numbers (rtm_protocol) by which Berth finds its own routes again: 0xBE and the next, which no
 * routing program that we know of uses (see rt_protos of iproute2).
 */
export const ROUTE_PROTOCOL = {
  /** Of the node itself: the nets under the pod and service CIDRs. */
  node: 0xbe,
  /** Of the overlay: the other nodes' pod CIDRs. */
  overlay: 0xbf,
} as const;
