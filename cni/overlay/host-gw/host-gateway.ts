/**
 * The host-gw backend: pods of other nodes are reached by plain routes through those nodes. Nothing is encapsulated, so the MTU
 * stays; all nodes must share one L2 network. Cost: one route per node and family, one netlink message per node that comes, goes or
 * moves. Traffic flows on while this is not running; only new nodes are not reached.
 */
import { openRtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { OverlayBackend, Peer, SelfNode, SyncOutcome } from '../backend.ts';
import { type ConnectedSubnets, readConnectedSubnets } from '../connected-subnets.ts';
import { createOverlayRoutes, type PeerRoute, removeOverlayRoutes } from '../overlay-routes.ts';

export const HOST_GW = 'host-gw';

export function createHostGateway(deps: { hostNetns?: string }): OverlayBackend {
  const netlink = openRtnetlink(deps.hostNetns);
  const routes = createOverlayRoutes(netlink);
  let self: SelfNode | undefined;
  /** As of the last full sync; a node in a subnet that it does not know makes it read anew. */
  let subnets: ConnectedSubnets | undefined;

  async function readSubnets(): Promise<ConnectedSubnets> {
    if (!self) throw new Error('host-gw: sync before ensure');
    subnets = await readConnectedSubnets(netlink, Object.values(self.podCidrs));
    return subnets;
  }

  async function plan(peers: Iterable<Peer>, full: boolean) {
    let known = full || !subnets ? await readSubnets() : subnets;
    const wanted = [...peers];
    if (!full && wanted.some((peer) => computePeerRoutes(peer, self!, known).reason)) known = await readSubnets();
    const want = new Map<string, readonly PeerRoute[]>();
    const skipped: SyncOutcome['skipped'][number][] = [];
    for (const peer of wanted) {
      const { routes: some, reason } = computePeerRoutes(peer, self!, known);
      want.set(peer.node, some);
      if (reason) skipped.push({ node: peer.node, reason });
    }
    return { want, skipped };
  }

  return {
    type: HOST_GW,

    async ensure(node) {
      self = node;
      const { isOwn } = await readSubnets();
      const foreign = Object.values(node.publicIps).find((ip) => !isOwn(ip));
      if (foreign !== undefined)
        throw new ExplainedError(
          `overlay host-gw: the public address ${foreign} is none of this node's: behind NAT other nodes can't route to it; use the backend vxlan, or leave --public-ip out`,
        );
      return { mtu: node.uplink.mtu, data: {} };
    },

    async sync(peers, changed) {
      const concerned = changed ? [...changed].flatMap((name) => peers.get(name) ?? []) : peers.values();
      const { want, skipped } = await plan(concerned, changed === undefined);
      for (const name of changed ?? []) if (!want.has(name)) want.set(name, []);
      const outcome = changed ? await routes.set(want) : await routes.syncAll(want);
      return { changed: outcome.changed, skipped: [...skipped, ...outcome.skipped] };
    },

    remove: () => removeOverlayRoutes(netlink),
    close: () => netlink.close(),
  };
}

/** The routes to one node's pods, and why there are not as many as the node has pod CIDRs. Pure. */
export function computePeerRoutes(
  peer: Peer,
  self: Pick<SelfNode, 'podCidrs'>,
  subnets: ConnectedSubnets,
): { routes: PeerRoute[]; reason?: string } {
  const routes: PeerRoute[] = [];
  let reason: string | undefined;
  for (const family of [4, 6] as const) {
    const destination = peer.podCidrs[family];
    const gateway = peer.publicIps[family];
    if (!destination || !gateway || !self.podCidrs[family]) continue;
    const linkIndex = subnets.linkTo(gateway);
    if (subnets.isOwn(gateway)) reason = `its address ${gateway} is an address of this node`;
    else if (linkIndex === undefined)
      reason = `its address ${gateway} is in no subnet of this node: host-gw needs one L2 network`;
    else routes.push({ destination, gateway, linkIndex });
  }
  return { routes, reason };
}
