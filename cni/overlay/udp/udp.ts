/**
 * The udp backend: for kernels that have nothing better. Packets for other nodes' pods leave the kernel by the TUN device `flannel0`, a thread of
 * this process sends each as a UDP datagram to the peer's port 8285, and what comes in there goes back into the kernel. flannel's of the same name
 * speaks the same. IPv4 only, as there; while this process does not run, nothing moves, but device and routes stay.
 */
import { closeSync } from 'node:fs';
import { formatIp, networkOf, parsePrefix } from '../../../src/linux/ip.ts';
import { openRtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import { bindUdp } from '../../../src/linux/netns-listen.ts';
import { openTun } from '../../../src/linux/tun.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { createSerial } from '../../../src/runtime/serial.ts';
import type { OverlayBackend, Peer, SelfNode, SyncOutcome } from '../backend.ts';
import { createOverlayRoutes, type PeerRoute, removeOverlayRoutes } from '../overlay-routes.ts';
import { ensureTunnelAddress, OVERLAY_ALIAS, setTunnelSysctls } from '../tunnel-link.ts';
import { findUnderlayAddress } from '../underlay-address.ts';
import { type Mover, startMover } from './mover.ts';
import type { MoverRoute } from './mover-protocol.ts';
import type { UdpOptions } from './options.ts';
import { computePeer, isEqual, isSameNetwork, networkKey } from './peer-plan.ts';

export interface UdpDeps {
  log: Logger;
  clock: Clock;
  hostNetns?: string;
}

const LINK = 'flannel0';
/** IPv4 and UDP headers. */
const OVERHEAD_BYTES = 28;
const LEAST_MTU = 68;
const RESTART_MS = 1_000;

export function createUdp(options: UdpOptions, deps: UdpDeps): OverlayBackend {
  const { log, clock, hostNetns } = deps;
  const netlink = openRtnetlink(hostNetns);
  const routes = createOverlayRoutes(netlink);
  const serial = createSerial();
  let self: SelfNode | undefined;
  let linkIndex = 0;
  let underlay: string | undefined;
  /** What the thread knows, for the next one: by node. */
  const moved = new Map<string, MoverRoute>();
  let mover: Mover | undefined;
  let known: ReadonlyMap<string, Peer> = new Map();
  /** Settled by the first `ensure`: before it there is nothing to move packets of. */
  const ready = Promise.withResolvers<void>();

  function mtuOf({ uplink }: SelfNode): number {
    const mtu = uplink.mtu - OVERHEAD_BYTES;
    if (mtu < LEAST_MTU)
      throw new ExplainedError(`overlay udp: ${uplink.mtu} bytes of MTU on ${uplink.name} leave ${mtu} for pods`);
    return mtu;
  }

  async function ensureDevice(node: SelfNode): Promise<void> {
    const podCidr = node.podCidrs[4];
    if (!podCidr || !node.publicIps[4])
      throw new ExplainedError(
        `overlay udp: node ${node.name} has no IPv4 pod CIDR or address, and this backend no IPv6`,
      );
    let link = await netlink.getLink(LINK);
    if (link && link.kind !== 'tun')
      throw new ExplainedError(
        `overlay udp: link ${LINK} is ${link.kind ? `of kind ${link.kind}` : 'no TUN device'}: delete or rename it (ip link delete ${LINK})`,
      );
    if (!link) {
      closeSync(openDevice());
      link = await netlink.getLink(LINK);
      if (!link) throw new Error(`overlay udp: ${LINK} was deleted as soon as it was made`);
    }
    linkIndex = link.index;
    const mtu = mtuOf(node);
    if (link.mtu !== mtu || link.alias !== OVERLAY_ALIAS)
      await netlink.setLink(linkIndex, { mtu, alias: OVERLAY_ALIAS });
    await ensureTunnelAddress(netlink, linkIndex, `${formatIp(networkOf(parsePrefix(podCidr)).address)}/32`);
    if (link.up) return;
    setTunnelSysctls(LINK, hostNetns);
    await netlink.setLink(linkIndex, { up: true });
  }

  function openDevice(): number {
    try {
      return openTun(LINK, hostNetns);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EBUSY')
        throw new ExplainedError(`overlay udp: another process has ${LINK} open (flanneld?): end it`, { cause: error });
      if (code === 'ENOENT' || code === 'ENODEV')
        throw new ExplainedError(
          'overlay udp: this kernel has no TUN (/dev/net/tun): load its module (modprobe tun) or choose another backend',
          { cause: error },
        );
      throw error;
    }
  }

  /** The thread with its descriptors; the one before has ended. */
  function startThread(): Mover {
    const tun = openDevice();
    let socket: number;
    try {
      socket = bindUdp(hostNetns, underlay!, options.port);
    } catch (error) {
      closeSync(tun);
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      throw new ExplainedError(
        `overlay udp: UDP port ${options.port} is taken by another program (ss -ulpn): end it, or give Backend.Port on all nodes`,
        { cause: error },
      );
    }
    return startMover({ tun, socket, port: options.port });
  }

  /** The thread is told where packets go before the kernel's routes lead any to it, and told to forget after. */
  async function write(wanted: ReadonlyMap<string, Peer | undefined>, full: boolean): Promise<SyncOutcome> {
    const kernel = new Map<string, PeerRoute[]>();
    const skipped: SyncOutcome['skipped'][number][] = [];
    const gone: MoverRoute[] = [];
    const come: MoverRoute[] = [];
    for (const [node, peer] of wanted) {
      const { route, reason } = peer && self ? computePeer(peer, self) : {};
      if (reason) skipped.push({ node, reason });
      kernel.set(node, route ? [{ destination: peer!.podCidrs[4]!, linkIndex }] : []);
      const before = moved.get(node);
      if (before && !(route && isSameNetwork(before, route))) gone.push(before);
      if (route && !(before && isEqual(before, route))) come.push(route);
      if (route) moved.set(node, route);
      else moved.delete(node);
    }
    await mover?.tell(come.map((route) => ({ kind: 'set', route })));
    const outcome = await (full ? routes.syncAll(kernel) : routes.set(kernel));
    // A network may have moved from one node to another.
    const taken = new Set(gone.length > 0 ? [...moved.values()].map(networkKey) : []);
    const left = gone.filter((route) => !taken.has(networkKey(route)));
    await mover?.tell(left.map((route) => ({ kind: 'remove', route })));
    return { changed: outcome.changed, skipped: [...skipped, ...outcome.skipped] };
  }

  async function syncFull(peers: ReadonlyMap<string, Peer>): Promise<SyncOutcome> {
    if (!self) throw new Error('overlay udp: sync before ensure');
    await ensureDevice(self);
    const names = new Set([...peers.keys(), ...moved.keys()]);
    return write(new Map([...names].map((name) => [name, peers.get(name)])), true);
  }

  return {
    type: 'udp',

    ensure: (node) =>
      serial(async () => {
        const mtu = mtuOf(node);
        await ensureDevice(node);
        if (underlay !== (await findUnderlayAddress(netlink, node, 4))) {
          underlay = await findUnderlayAddress(netlink, node, 4);
          // The next one is bound to the new address.
          mover?.stop();
        }
        self = node;
        ready.resolve();
        return { mtu, data: {} };
      }),

    sync: (peers, changed) =>
      serial(async () => {
        known = peers;
        if (!changed) return syncFull(peers);
        try {
          return await write(new Map([...changed].map((name) => [name, peers.get(name)])), false);
        } catch (error) {
          if (!isNetlinkError(error, 'ENODEV')) throw error;
          return syncFull(peers);
        }
      }),

    async run(signal) {
      signal.addEventListener('abort', () => mover?.stop(), { once: true });
      await Promise.race([ready.promise, aborted(signal)]);
      while (!signal.aborted) {
        try {
          await serial(async () => {
            if (!self) return;
            // Whoever deleted the device took the routes over it along.
            await syncFull(known);
            mover = startThread();
            await mover.tell([...moved.values()].map((route) => ({ kind: 'set', route })));
          });
          if (signal.aborted) mover?.stop();
          await mover?.ended;
        } catch (error) {
          log.warn({ err: error }, 'packets between nodes do not move; trying again');
        }
        mover = undefined;
        await clock.sleep(RESTART_MS, signal).catch(() => {});
      }
    },

    remove: () =>
      serial(async () => {
        self = undefined;
        moved.clear();
        mover?.stop();
        await mover?.ended.catch(() => {});
        await removeOverlayRoutes(netlink);
        const link = await netlink.getLink(LINK);
        if (link?.kind === 'tun' && link.alias === OVERLAY_ALIAS)
          await netlink.deleteLink(link.index).catch((error) => {
            if (!isNetlinkError(error, 'ENODEV')) throw error;
          });
      }),

    close() {
      mover?.stop();
      netlink.close();
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
