/** kill -9 inside every step of a route sync, then a new start: nothing is left over, nothing is there twice, nothing is missing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'ava';
import type { OverlayBackend, Peer } from '../../../cni/overlay/backend.ts';
import { createVxlan } from '../../../cni/overlay/vxlan/vxlan.ts';
import { openRtnetlink, type Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createOverlaySwitch, VXLAN_DEFAULTS } from '../../support/overlay-hosts.ts';
import { openStoppedNetlink } from '../../support/stopped-netlink.ts';

const REAL_KILLS = 4;

const peer = (number: number, change: Partial<Peer> = {}): Peer => ({
  node: `node${number}`,
  podCidrs: { 4: `10.244.${number}.0/24` },
  publicIps: { 4: `192.0.2.${number}` },
  backendType: 'vxlan',
  backendData: { 4: { VNI: 1, VtepMAC: `02:00:00:00:00:0${number}` } },
  ...change,
});
const mapOf = (peers: Peer[]) => new Map(peers.map((one) => [one.node, one]));
/** One goes, one moves, one changes its pod CIDR, one comes, one stays. */
const BEFORE = [peer(2), peer(3), peer(4), peer(6)];
const AFTER = [
  peer(3, { publicIps: { 4: '192.0.2.33' } }),
  peer(4, { podCidrs: { 4: '10.244.44.0/24' } }),
  peer(5),
  peer(6),
];

test('killed at any change of the kernel, the next start completes or mends', async (t) => {
  const host = await (await createOverlaySwitch(t)).addHost(1);
  const self = { ...(await host.self()), earlierData: { 4: { VNI: 1, VtepMAC: '02:00:00:00:00:01' } } };
  const openWith = (openNetlink: (netns?: string) => Rtnetlink): OverlayBackend => {
    const deps = { log: silentLogger, clock: systemClock, hostNetns: host.path, openNetlink };
    const backend = createVxlan(VXLAN_DEFAULTS, deps);
    t.teardown(() => backend.close());
    return backend;
  };
  const settle = async (peers: Peer[]) => {
    const backend = openWith(openRtnetlink);
    await backend.ensure(self);
    await backend.sync(mapOf(peers));
    backend.close();
  };
  const state = async () => {
    const shown = await Promise.all([
      host.ip('-d', '-N', 'route'),
      host.ip('neigh', 'show', 'dev', 'flannel.1', 'nud', 'permanent'),
      host.run('bridge', ['fdb', 'show', 'dev', 'flannel.1']),
      host.ip('-d', 'link', 'show', 'flannel.1'),
      host.ip('-o', 'addr', 'show', 'flannel.1', 'scope', 'global'),
    ]);
    // A device that was made anew has another index.
    return shown.flatMap((text) =>
      text
        .replace(/^\d+: /gm, '')
        .split('\n')
        .sort(),
    );
  };
  await settle(BEFORE);
  const wholeBefore = await state();
  await settle(AFTER);
  const wholeAfter = await state();

  /** How it comes to an end: with the process, or (quicker, the same to the kernel) with a backend that nobody hears of again. */
  const killed = async (atChange: number): Promise<boolean> => {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const backend = openWith((netns) => openStoppedNetlink(netns, atChange, () => resolve(true)));
    const work = backend.ensure(self).then(() => backend.sync(mapOf(AFTER)));
    work.then(() => resolve(false)).catch(() => {});
    return promise.finally(() => backend.close());
  };
  /** Not in a start but later, in the changes of single peers. */
  const killedInChanges = async (atChange: number): Promise<boolean> => {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const backend = openWith((netns) => openStoppedNetlink(netns, atChange, () => resolve(true)));
    const changed = new Set([...BEFORE, ...AFTER].map(({ node }) => node));
    const work = backend
      .ensure(self)
      // All of that is there: nothing is changed.
      .then(() => backend.sync(mapOf(BEFORE)))
      .then(() => backend.sync(mapOf(AFTER), changed));
    work.then(() => resolve(false)).catch(() => {});
    return promise.finally(() => backend.close());
  };
  const killedForReal = async (atChange: number): Promise<boolean> => {
    const script = join(import.meta.dirname, '../../support/vxlan-crash-child.ts');
    const args = [script, host.path, String(atChange), JSON.stringify(self), JSON.stringify(AFTER)];
    const [, signal] = await once(spawn(process.execPath, args, { stdio: 'ignore' }), 'exit');
    return signal === 'SIGKILL';
  };

  for (const [spoil, kill, stride] of [
    [async () => {}, killed, 2],
    [async () => {}, killedInChanges, 1],
    [() => host.ip('link', 'delete', 'flannel.1'), killed, 1],
    [() => host.ip('link', 'delete', 'flannel.1'), killedForReal, REAL_KILLS],
  ] as const) {
    let steps = 0;
    for (let atChange = 0; ; atChange += stride) {
      await settle(BEFORE);
      if (atChange === 0) t.deepEqual(await state(), wholeBefore);
      await spoil();
      const wasKilled = await kill(atChange);
      steps++;
      await settle(AFTER);
      t.deepEqual(await state(), wholeAfter, `killed before change ${atChange}`);
      if (!wasKilled) break;
    }
    t.true(steps * stride > 10, `${steps} times`);
    t.log(`${kill.name}: ${steps} places`);
  }
});
