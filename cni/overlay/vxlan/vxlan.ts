/**
 * The VXLAN backend: a device `flannel.<VNI>` (and `flannel-v6.<VNI>`), and for each other node three permanent entries that lead to it:
 *
 *     neighbour   10.244.2.0 → the peer's VtepMAC     so that nobody asks by ARP
 *     forwarding  VtepMAC → the peer's public IP      so that nothing is flooded
 *     route       10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
 *
 * Names, numbers and annotations are flannel's: nodes of both make one network. A peer that comes, goes or moves costs three messages; a full
 * sync reads two tables a device and the routes, and mends what differs. Packets need nothing of this process.
 */
import { lookUpRoute } from '../../../src/linux/netlink/route-lookup.ts';
import { openRtnetlink, type Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { OverlayBackend, Peer, PerFamily, SelfNode, SyncOutcome } from '../backend.ts';
import { createDeviceSync } from '../device-sync.ts';
import { createOverlayRoutes, removeOverlayRoutes } from '../overlay-routes.ts';
import type { VxlanBackendData } from './backend-data.ts';
import { createChecksumGuard } from './checksum-guard.ts';
import type { VxlanDevice } from './device.ts';
import { createVxlanDevices, FAMILIES } from './devices.ts';
import type { VxlanOptions } from './options.ts';
import { computeLeg, type Leg, type Tunnel } from './peer-plan.ts';
import { createTunnels } from './tunnels.ts';

export interface VxlanDeps {
  log: Logger;
  clock: Clock;
  hostNetns?: string;
  /** For tests that stop it at a message. */
  openNetlink?: (netns?: string) => Rtnetlink;
}

export function createVxlan(options: VxlanOptions, deps: VxlanDeps): OverlayBackend {
  const { hostNetns } = deps;
  const netlink = (deps.openNetlink ?? openRtnetlink)(hostNetns);
  const routes = createOverlayRoutes(netlink);
  const tunnels = createTunnels(netlink);
  const ownDevices = createVxlanDevices(options, netlink, deps);
  const checksums = createChecksumGuard(options.txChecksumOffload, {
    ...deps,
    links: () => Object.values(devices).map(({ name }) => name),
    targets: () =>
      devices[4] && {
        link: devices[4].name,
        from: devices[4].address,
        to: [...tunnels.legs().values()].filter(({ linkIndex }) => linkIndex === devices[4]?.index).map(toAddress),
      },
  });
  let self: SelfNode | undefined;
  let devices: PerFamily<VxlanDevice> = {};
  /** Peers that another one's entries stand in the way of: looked at again with every change. */
  const clashing = new Set<string>();

  const passes = createDeviceSync(
    {
      kind: 'VXLAN',
      // By name, too: a device may go before anybody has read its index.
      isOurs: (_, name) => Object.values(devices).some((device) => device.name === name),
      async ensure() {
        if (!self) throw new Error('overlay vxlan: sync before ensure');
        await ensureDevices(self);
      },
      async syncAll(peers) {
        await tunnels.read(Object.values(devices).map(({ index }) => index));
        // Nodes that are gone are named here for the last time.
        const names = new Set([...peers.keys(), ...[...tunnels.legs().keys()].map(nodeOf)]);
        return write(await planLegs(names, peers), true);
      },
      syncSome: async (peers, names) => write(await planLegs(new Set([...names, ...clashing]), peers), false),
    },
    deps,
  );
  const { serial } = passes;

  async function ensureDevices(node: SelfNode): Promise<void> {
    const before = devices;
    devices = await ownDevices.ensure(node);
    for (const { name } of Object.values(devices)) checksums.apply(name);
    if (FAMILIES.some((family) => devices[family]?.index !== before[family]?.index)) passes.forgetKernel();
  }

  async function planLeg(peer: Peer | undefined, family: 4 | 6): Promise<Leg> {
    const device = devices[family];
    const address = peer?.publicIps[family];
    if (!peer || !device) return {};
    if (address !== undefined && address === self?.publicIps[family])
      return { reason: `its address ${address} is this node's own` };
    const way = options.directRouting && address !== undefined ? await lookUpRoute(netlink, address) : undefined;
    const isDirect = way && !way.local && way.gateway === undefined && way.linkIndex !== device.index;
    return computeLeg(peer, family, {
      vni: options.vni,
      linkIndex: device.index,
      mac: device.mac,
      ...(isDirect && { directLinkIndex: way.linkIndex }),
    });
  }

  async function planLegs(names: Iterable<string>, peers: ReadonlyMap<string, Peer>): Promise<Map<string, Leg>> {
    const legs = new Map<string, Leg>();
    for (const name of names)
      for (const family of FAMILIES) legs.set(`${name} ${family}`, await planLeg(peers.get(name), family));
    return legs;
  }

  /** Entries before the routes that use them, routes before the entries of those that are gone. */
  async function write(legs: ReadonlyMap<string, Leg>, full: boolean): Promise<SyncOutcome> {
    const reasons = new Map<string, string>();
    for (const [leg, { reason }] of legs) if (reason) reasons.set(leg, reason);
    const put = await tunnels.put(mapValues(legs, ({ tunnel }) => tunnel));
    for (const [leg, reason] of put.failed) reasons.set(leg, reason);
    const wanted = mapValues(legs, ({ route }, leg) => (route && !put.failed.has(leg) ? [route] : []));
    const outcome = await (full ? routes.syncAll(wanted) : routes.set(wanted));
    for (const { node: leg, reason } of outcome.skipped) {
      reasons.set(leg, reason);
      tunnels.drop(leg);
    }
    const swept = await tunnels.sweep();
    for (const leg of legs.keys()) clashing.delete(nodeOf(leg));
    for (const leg of put.failed.keys()) clashing.add(nodeOf(leg));
    return {
      changed: put.changed + outcome.changed + swept,
      skipped: [...reasons].map(([leg, reason]) => ({ node: nodeOf(leg), reason })),
    };
  }

  return {
    type: 'vxlan',

    ensure: (node) =>
      serial(async () => {
        // Before anything is made: an uplink that carries too little is an error of its own.
        const mtu = ownDevices.mtu(node);
        self = node;
        passes.forgetKernel();
        await ensureDevices(node);
        const data: PerFamily<VxlanBackendData> = {};
        for (const family of FAMILIES)
          if (devices[family]) data[family] = { VNI: options.vni, VtepMAC: devices[family].mac };
        return { mtu, data };
      }),

    sync: passes.sync,
    run: async (signal) => void (await Promise.all([passes.run(signal), checksums.run(signal)])),

    remove: () =>
      serial(async () => {
        self = undefined;
        devices = {};
        passes.forgetPeers();
        // Routes over the devices go with them; direct ones do not.
        await removeOverlayRoutes(netlink);
        await ownDevices.remove();
      }),

    close: () => netlink.close(),
  };
}

const toAddress = ({ address }: Tunnel) => address;

function nodeOf(leg: string): string {
  return leg.slice(0, leg.lastIndexOf(' '));
}

function mapValues<V, W>(map: ReadonlyMap<string, V>, change: (value: V, key: string) => W): Map<string, W> {
  return new Map([...map].map(([key, value]) => [key, change(value, key)]));
}
