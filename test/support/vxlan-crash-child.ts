/** Takes a node's overlay from whatever is there to the given peers, and dies at the given change of the kernel. */
import type { Peer, SelfNode } from '../../cni/overlay/backend.ts';
import { createVxlan } from '../../cni/overlay/vxlan/vxlan.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { VXLAN_DEFAULTS } from './overlay-hosts.ts';
import { openStoppedNetlink } from './stopped-netlink.ts';

const [netns, atChange, self, peers] = process.argv.slice(2);
const die = () => process.kill(process.pid, 'SIGKILL');
const backend = createVxlan(VXLAN_DEFAULTS, {
  log: silentLogger,
  clock: systemClock,
  hostNetns: netns!,
  openNetlink: (path) => openStoppedNetlink(path, Number(atChange), die),
});
await backend.ensure(JSON.parse(self!) as SelfNode);
await backend.sync(new Map((JSON.parse(peers!) as Peer[]).map((peer) => [peer.node, peer])));
