/**
 * The wireguard backend: pods' packets between nodes are encrypted by the kernel. Devices, keys and annotations are flannel's, so that its
 * nodes and ours make one network. A peer is one generic netlink message and one route per family; a full sync reads each device and the
 * routes, and mends what differs. Packets need nothing of this process.
 */
import { openRtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { openWireguard, type Wireguard } from '../../../src/linux/netlink/wireguard.ts';
import type { WireguardPeer } from '../../../src/linux/netlink/wireguard-messages.ts';
import { publicKeyOf } from '../../../src/linux/wireguard-key.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { OverlayBackend, Peer, SelfNode, SyncOutcome } from '../backend.ts';
import { createDeviceSync } from '../device-sync.ts';
import { createOverlayRoutes, type PeerRoute, removeOverlayRoutes } from '../overlay-routes.ts';
import { ensureWireguardDevice, noWireguard, removeWireguardDevices } from './device.ts';
import type { WireguardOptions } from './options.ts';
import { computeDevices, computeMtu, computePeer, type DevicePlan, diffPeers, FAMILIES } from './plan.ts';
import { ensurePrivateKey, removePrivateKey } from './private-key.ts';

export interface WireguardDeps {
  log: Logger;
  clock: Clock;
  hostNetns?: string;
}

interface Device extends DevicePlan {
  index: number;
  /** What we wrote, by public key, and by node whose that is. */
  written: Map<string, WireguardPeer>;
  keyOf: Map<string, string>;
}

export function createWireguardBackend(options: WireguardOptions, deps: WireguardDeps): OverlayBackend {
  const { hostNetns } = deps;
  const netlink = openRtnetlink(hostNetns);
  const routes = createOverlayRoutes(netlink);
  let wireguard: Wireguard | undefined;
  let self: SelfNode | undefined;
  let devices: Device[] = [];
  let ownKey: string | undefined;
  const passes = createDeviceSync(
    {
      kind: 'WireGuard',
      isOurs: (_, name) => devices.some((device) => device.name === name),
      async ensure() {
        if (!self) throw new Error('overlay wireguard: sync before ensure');
        await ensureDevices(self);
      },
      syncAll: (peers) => write([...peers.keys()], peers, true),
      syncSome: (peers, names) => write([...names], peers, false),
    },
    deps,
  );
  const { serial } = passes;

  async function ensureDevices(node: SelfNode): Promise<void> {
    wireguard ??= await openWireguard(hostNetns);
    if (!wireguard) throw noWireguard();
    const wanted = {
      privateKey: ensurePrivateKey(options.privateKeyFile),
      mtu: computeMtu(node, options),
      podCidrs: node.podCidrs,
      hostNetns,
    };
    ownKey = publicKeyOf(wanted.privateKey);
    const plans = computeDevices(node, options);
    await removeWireguardDevices(
      netlink,
      plans.map(({ name }) => name),
    );
    const found: Device[] = [];
    for (const plan of plans) {
      const index = await ensureWireguardDevice(netlink, wireguard, plan, wanted);
      const same = devices.find((one) => one.name === plan.name && one.index === index);
      if (!same) passes.forgetKernel();
      found.push({ ...plan, index, written: same?.written ?? new Map(), keyOf: same?.keyOf ?? new Map() });
    }
    devices = found;
  }

  /** The peers of one device, by node; nodes with another's key are left out. */
  function planPeers(device: Device, peers: Iterable<Peer>, keys: ReadonlyMap<string, string>) {
    const want = new Map<string, WireguardPeer>();
    const reasons = new Map<string, string>();
    const owners = new Map([...keys].map(([node, key]) => [key, node]));
    for (const peer of peers) {
      const planned = computePeer(device, peer, options, ownKey);
      if (!planned) continue;
      if ('reason' in planned) {
        reasons.set(peer.node, planned.reason);
        continue;
      }
      const owner = owners.get(planned.publicKey) ?? peer.node;
      if (owner !== peer.node) reasons.set(peer.node, `its public key is also that of node ${owner}`);
      else {
        owners.set(planned.publicKey, peer.node);
        want.set(peer.node, planned);
      }
    }
    return { want, reasons };
  }

  /** Peers before the routes that lead to them; what is wanted no more goes with the same message. */
  async function write(
    names: readonly string[],
    peers: ReadonlyMap<string, Peer>,
    full: boolean,
  ): Promise<SyncOutcome> {
    const concerned = names.flatMap((name) => peers.get(name) ?? []);
    const wanted = new Map<string, PeerRoute[]>(names.map((name) => [name, []]));
    const skipped = new Map<string, string>();
    let changed = 0;
    for (const device of devices) {
      const others = full ? new Map<string, string>() : new Map(device.keyOf);
      if (!full) for (const name of names) others.delete(name);
      const { want, reasons } = planPeers(device, concerned, others);
      for (const [node, reason] of reasons) skipped.set(node, reason);
      const earlier = names.flatMap((name) => device.keyOf.get(name) ?? []);
      const have = full
        ? (await wireguard!.getDevice(device.name)).peers
        : earlier.flatMap((key) => {
            const peer = device.written.get(key);
            return peer ? [{ ...peer, lastHandshakeSeconds: 0, receivedBytes: 0, sentBytes: 0 }] : [];
          });
      const change = diffPeers([...want.values()], have, device.written);
      if (change.put.length + change.remove.length > 0) await wireguard!.setDevice(device.name, change);
      changed += change.put.length + change.remove.length;
      if (full) {
        device.written.clear();
        device.keyOf.clear();
      }
      for (const key of change.remove) device.written.delete(key);
      for (const name of names) device.keyOf.delete(name);
      for (const [node, peer] of want) {
        device.written.set(peer.publicKey, peer);
        device.keyOf.set(node, peer.publicKey);
        for (const destination of peer.allowedIps) wanted.get(node)!.push({ destination, linkIndex: device.index });
      }
    }
    const outcome = await (full ? routes.syncAll(wanted) : routes.set(wanted));
    for (const { node, reason } of outcome.skipped) skipped.set(node, reason);
    return {
      changed: changed + outcome.changed,
      skipped: [...skipped].map(([node, reason]) => ({ node, reason })),
    };
  }

  return {
    type: 'wireguard',

    ensure: (node) =>
      serial(async () => {
        const mtu = computeMtu(node, options);
        self = node;
        passes.forgetKernel();
        await ensureDevices(node);
        const data = { PublicKey: publicKeyOf(ensurePrivateKey(options.privateKeyFile)) };
        return {
          mtu,
          data: Object.fromEntries(FAMILIES.filter((family) => node.publicIps[family]).map((family) => [family, data])),
        };
      }),

    sync: passes.sync,
    run: passes.run,

    remove: () =>
      serial(async () => {
        self = undefined;
        devices = [];
        passes.forgetPeers();
        await removeOverlayRoutes(netlink);
        await removeWireguardDevices(netlink);
        removePrivateKey(options.privateKeyFile);
      }),

    close() {
      netlink.close();
      wireguard?.close();
    },
  };
}
