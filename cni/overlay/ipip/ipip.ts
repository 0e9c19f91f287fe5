/**
 * The ipip backend: pods' packets travel in IPv4 packets of protocol 4, with 20 bytes of header where VXLAN has 50. One device `flannel.ipip`, and
 * for each other node one route `10.244.2.0/24 via <its public IP> dev flannel.ipip onlink`: the gateway is where the outer packet goes. IPv4 only,
 * as flannel's of the same name. Packets need nothing of this process.
 */
import { formatIp, networkOf, parsePrefix } from '../../../src/linux/ip.ts';
import { decodeIpip, encodeIpip } from '../../../src/linux/netlink/ipip.ts';
import { lookUpRoute } from '../../../src/linux/netlink/route-lookup.ts';
import { openRtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { OverlayBackend, Peer, SelfNode, SyncOutcome } from '../backend.ts';
import { createDeviceSync } from '../device-sync.ts';
import { createOverlayRoutes, type PeerRoute, removeOverlayRoutes } from '../overlay-routes.ts';
import { ensureTunnelAddress, OVERLAY_ALIAS, setTunnelSysctls } from '../tunnel-link.ts';
import { findUnderlayAddress } from '../underlay-address.ts';
import type { IpipOptions } from './options.ts';

export interface IpipDeps {
  log: Logger;
  clock: Clock;
  hostNetns?: string;
}

const LINK = 'flannel.ipip';
const OVERHEAD_BYTES = 20;
const LEAST_MTU = 68;

export function createIpip(options: IpipOptions, deps: IpipDeps): OverlayBackend {
  const { log, hostNetns } = deps;
  const netlink = openRtnetlink(hostNetns);
  const routes = createOverlayRoutes(netlink);
  let self: SelfNode | undefined;
  let linkIndex = 0;
  const passes = createDeviceSync(
    {
      kind: 'IPIP',
      isOurs: (_, name) => name === LINK && linkIndex !== 0,
      async ensure() {
        if (!self) throw new Error('overlay ipip: sync before ensure');
        await ensureDevice(self);
      },
      syncAll: (peers) => write(peers.keys(), peers, true),
      syncSome: (peers, names) => write(names, peers, false),
    },
    deps,
  );
  const { serial } = passes;

  async function ensureDevice(node: SelfNode): Promise<void> {
    const podCidr = node.podCidrs[4];
    if (!podCidr || !node.publicIps[4])
      throw new ExplainedError(
        `overlay ipip: node ${node.name} has no IPv4 pod CIDR or address, and this backend no IPv6`,
      );
    const local = await findUnderlayAddress(netlink, node, 4);
    const mtu = mtuOf(node);
    let link = await netlink.getLink(LINK);
    if (link && link.kind !== 'ipip')
      throw new ExplainedError(
        `overlay ipip: link ${LINK} is ${link.kind ? `of kind ${link.kind}` : 'no IPIP device'}: delete or rename it (ip link delete ${LINK})`,
      );
    const have = link?.data && decodeIpip(link.data);
    if (link && (have?.local !== local || have.remote !== undefined)) {
      log.warn({ link: LINK, have, local }, 'the IPIP device is made anew: it differs');
      await netlink.deleteLink(link.index);
      link = undefined;
    }
    if (!link) {
      await netlink.createLink({ name: LINK, kind: 'ipip', data: encodeIpip({ local }), mtu }).catch(explainCreation);
      link = await netlink.getLink(LINK);
      if (!link) throw new Error(`overlay ipip: ${LINK} was deleted as soon as it was made`);
    }
    if (link.index !== linkIndex) passes.forgetKernel();
    linkIndex = link.index;
    if (link.mtu !== mtu || link.alias !== OVERLAY_ALIAS)
      await netlink.setLink(linkIndex, { mtu, alias: OVERLAY_ALIAS });
    await ensureTunnelAddress(netlink, linkIndex, `${formatIp(networkOf(parsePrefix(podCidr)).address)}/32`);
    if (link.up) return;
    setTunnelSysctls(LINK, hostNetns);
    await netlink.setLink(linkIndex, { up: true });
  }

  async function plan(peer: Peer): Promise<{ route?: PeerRoute; reason?: string }> {
    const found = computePeer(peer, { publicIps: self?.publicIps ?? {}, linkIndex });
    if (!found.route || !options.directRouting) return found;
    const way = await lookUpRoute(netlink, found.route.gateway!);
    if (!way || way.local || way.gateway !== undefined || way.linkIndex === linkIndex) return found;
    return { route: { destination: found.route.destination, gateway: found.route.gateway, linkIndex: way.linkIndex } };
  }

  async function write(names: Iterable<string>, peers: ReadonlyMap<string, Peer>, full: boolean): Promise<SyncOutcome> {
    const wanted = new Map<string, PeerRoute[]>();
    const skipped: SyncOutcome['skipped'][number][] = [];
    for (const name of names) {
      const peer = peers.get(name);
      const { route, reason } = peer ? await plan(peer) : {};
      wanted.set(name, route ? [route] : []);
      if (reason) skipped.push({ node: name, reason });
    }
    const outcome = await (full ? routes.syncAll(wanted) : routes.set(wanted));
    return { changed: outcome.changed, skipped: [...skipped, ...outcome.skipped] };
  }

  return {
    type: 'ipip',

    ensure: (node) =>
      serial(async () => {
        await ensureDevice(node);
        self = node;
        passes.forgetKernel();
        return { mtu: mtuOf(node), data: {} };
      }),

    sync: passes.sync,
    run: passes.run,

    remove: () =>
      serial(async () => {
        self = undefined;
        linkIndex = 0;
        passes.forgetPeers();
        await removeOverlayRoutes(netlink);
        const link = await netlink.getLink(LINK);
        if (link?.kind === 'ipip' && link.alias === OVERLAY_ALIAS)
          await netlink.deleteLink(link.index).catch((error) => {
            if (!isNetlinkError(error, 'ENODEV')) throw error;
          });
      }),

    close: () => netlink.close(),
  };
}

/** The route to a peer's pods, or why there is none. Pure; neither for one that has no pods. */
export function computePeer(
  peer: Peer,
  self: Pick<SelfNode, 'publicIps'> & { linkIndex: number },
): { route?: PeerRoute; reason?: string } {
  const destination = peer.podCidrs[4];
  const gateway = peer.publicIps[4];
  if (!destination) return peer.podCidrs[6] ? { reason: 'its pods have IPv6 alone, and backend ipip IPv4' } : {};
  if (peer.backendType !== 'ipip')
    return {
      reason:
        peer.backendType === undefined
          ? 'it has not said yet which backend it has (flannel annotations)'
          : `its backend is ${peer.backendType}, ours ipip`,
    };
  if (!gateway) return { reason: 'it has no public IPv4 address' };
  if (gateway === self.publicIps[4]) return { reason: `its address ${gateway} is this node's own` };
  return { route: { destination, gateway, linkIndex: self.linkIndex, onlink: true } };
}

function mtuOf({ uplink }: SelfNode): number {
  const mtu = uplink.mtu - OVERHEAD_BYTES;
  if (mtu < LEAST_MTU)
    throw new ExplainedError(`overlay ipip: ${uplink.mtu} bytes of MTU on ${uplink.name} leave ${mtu} for pods`);
  return mtu;
}

function explainCreation(error: unknown): never {
  if (isNetlinkError(error, 'EOPNOTSUPP'))
    throw new ExplainedError(
      'overlay ipip: this kernel has no IPIP: load its module (modprobe ipip) or choose another backend (vxlan, host-gw)',
      { cause: error },
    );
  throw error;
}
