/** VXLAN backends of namespaced hosts, and peers of theirs that are made by hand. */
import type { ExecutionContext } from 'ava';
import type { OverlayBackend, Peer } from '../../cni/overlay/backend.ts';
import type { VxlanBackendData } from '../../cni/overlay/vxlan/backend-data.ts';
import type { VxlanOptions } from '../../cni/overlay/vxlan/options.ts';
import { createVxlan } from '../../cni/overlay/vxlan/vxlan.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { addFlannelPeer, makeFlannelDevice } from './flannel-by-hand.ts';
import { type OverlayHost, VXLAN_DEFAULTS } from './overlay-hosts.ts';

/** A backend of a host; closed at the test's end. */
export function open(
  t: ExecutionContext,
  host: OverlayHost,
  options: Partial<VxlanOptions> = {},
  clock: Clock = systemClock,
): OverlayBackend {
  const deps = { log: silentLogger, clock, hostNetns: host.path };
  const backend = createVxlan({ ...VXLAN_DEFAULTS, ...options }, deps);
  t.teardown(() => backend.close());
  return backend;
}

export const peersOf = (...peers: Peer[]) => new Map(peers.map((peer) => [peer.node, peer]));
export const names = (...hosts: { number: number }[]) => new Set(hosts.map(({ number }) => `node${number}`));

/** A node of flannel's, as its annotations show it. */
export async function makeFlannelByHand(host: OverlayHost, mac: string): Promise<Peer> {
  await makeFlannelDevice(host, mac);
  return host.peer('vxlan', { 4: { VNI: 1, VtepMAC: mac } });
}

export function addFlannelPeerByHand(host: OverlayHost, { podCidrs, publicIps, backendData }: Peer): Promise<void> {
  const { VtepMAC: mac } = backendData[4] as VxlanBackendData;
  return addFlannelPeer(host, { podCidr: podCidrs[4]!, publicIp: publicIps[4]!, mac });
}

/** What leads to other nodes, as ip(8) and bridge(8) show it. */
export async function entries(host: OverlayHost, link = 'flannel.1'): Promise<string[]> {
  const neighbours = await host.ip('neigh', 'show', 'dev', link, 'nud', 'permanent');
  const forwarding = await host.run('bridge', ['fdb', 'show', 'dev', link]);
  const routes = (await host.ip('-N', 'route')).split('\n').filter((line) => line.includes('proto 191'));
  return [...neighbours.split('\n'), ...forwarding.split('\n'), ...routes]
    .map((line) => line.trim())
    .filter(Boolean)
    .sort();
}
