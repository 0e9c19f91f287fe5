/** The VXLAN backend's device: made anew where it differs or is gone, and what is in its way. */
import test from 'ava';
import type { VxlanOptions } from '../../../cni/overlay/vxlan/options.ts';
import { type Clock, systemClock } from '../../../src/runtime/clock.ts';
import { eventually } from '../../support/eventually.ts';
import { createOverlaySwitch, doesReach, reaches } from '../../support/overlay-hosts.ts';
import { addFlannelPeerByHand, entries, makeFlannelByHand, open, peersOf } from '../../support/vxlan-scene.ts';

test('a device that differs is made anew, with the MAC that other nodes know; its entries come back', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  const theirs = await makeFlannelByHand(two, '02:00:00:00:02:02');
  const self = await one.self();
  const first = open(t, one);
  const { data } = await first.ensure(self);
  await first.sync(peersOf(theirs));
  await addFlannelPeerByHand(two, one.peer('vxlan', data));
  const whole = await entries(one);

  for (const [what, spoil] of [
    ['port', 'type vxlan id 1 local 192.0.2.1 dev eth0 dstport 4789 nolearning'],
    ['learning', 'type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472'],
    ['VNI', 'type vxlan id 5 local 192.0.2.1 dev eth0 dstport 8472 nolearning'],
    ['local', 'type vxlan id 1 local 192.0.2.77 dev eth0 dstport 8472 nolearning'],
    ['group policy', 'type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning gbp'],
  ] as const) {
    await one.ip('link', 'delete', 'flannel.1');
    await one.ip('link', 'add', 'flannel.1', ...spoil.split(' '));
    const next = open(t, one, { port: 8472 });
    const again = await next.ensure({ ...self, earlierData: data });
    t.deepEqual(again.data, data, what);
    await next.sync(peersOf(theirs));
    t.deepEqual(await entries(one), whole, what);
    t.true(await doesReach(one.pod, '10.244.2.2'), what);
  }

  // Another VNI is another device; the former goes.
  const other = open(t, one, { vni: 7, port: 4789 });
  await other.ensure(self);
  t.notRegex(await one.ip('link'), /flannel\.1:/);
  t.regex(await one.ip('-d', 'link', 'show', 'flannel.7'), /vxlan id 7 .*dstport 4789/);
});

test('a device that somebody deletes is made anew within seconds, with all that it had', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  const theirs = await makeFlannelByHand(two, '02:00:00:00:02:02');
  const backend = open(t, one);
  const { data } = await backend.ensure(await one.self());
  await addFlannelPeerByHand(two, one.peer('vxlan', data));
  await backend.sync(peersOf(theirs));
  const whole = await entries(one);
  const controller = new AbortController();
  const running = backend.run!(controller.signal);
  await one.ip('link', 'delete', 'flannel.1');
  await eventually('all is back', async () => String(await entries(one).catch(() => '')) === String(whole));
  t.true(await doesReach(one.pod, '10.244.2.2'));
  // A change of a peer does not wait for that.
  await one.ip('link', 'delete', 'flannel.1');
  await backend.sync(peersOf(theirs), new Set());
  t.deepEqual(await entries(one), whole);
  controller.abort();
  await running;
});

test('who deletes the device again and again meets it less and less often', async (t) => {
  const net = await createOverlaySwitch(t);
  const one = await net.addHost(1);
  const delays: number[] = [];
  const hasty: Clock = {
    ...systemClock,
    after(ms, fire) {
      delays.push(ms);
      return systemClock.after(10, fire);
    },
  };
  const backend = open(t, one, {}, hasty);
  await backend.ensure(await one.self());
  await backend.sync(peersOf());
  const controller = new AbortController();
  const running = backend.run!(controller.signal);
  for (let times = 1; times <= 7; times++) {
    await one.ip('link', 'delete', 'flannel.1');
    const isBack = async () => delays.length === times && (await one.ip('link')).includes('flannel.1');
    await eventually('it is back', isBack);
    // Only when all is done again: a device that is deleted half-way costs a try more.
    await backend.sync(peersOf(), new Set());
  }
  t.deepEqual(
    delays,
    [1, 2, 4, 8, 16, 30, 30].map((seconds) => seconds * 1000),
  );
  controller.abort();
  await running;
});

test('what is in the way of the device is named, and nothing half-made stays', async (t) => {
  const net = await createOverlaySwitch(t);
  const one = await net.addHost(1);
  const self = await one.self();
  const refused = async (spoil: string, pattern: RegExp, options: Partial<VxlanOptions> = {}, node = self) => {
    for (const command of spoil.split(';').filter(Boolean)) await one.ip(...command.trim().split(' '));
    const error = await t.throwsAsync(open(t, one, options).ensure(node));
    t.regex(error?.message ?? '', pattern);
  };
  await refused('link add flannel.1 type bridge', /flannel\.1 is of kind bridge: delete or rename it/);
  await refused(
    'link delete flannel.1; link add foreign type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472',
    /link foreign has VNI 1 on the same port/,
  );
  await one.ip('link', 'delete', 'foreign');
  await refused('', /100 bytes of MTU on eth0 leave 50 for IPv4, which needs 68/, { mtu: 100 });
  await refused(
    '',
    /192\.0\.2\.99 is no address of this node, and cni9/,
    {},
    {
      ...self,
      publicIps: { 4: '192.0.2.99' },
      uplink: { ...self.uplink, name: 'cni9', index: 4242 },
    },
  );
  await refused('', /no pod CIDR with an address of the same family/, {}, { ...self, podCidrs: {} });
  t.notRegex(await one.ip('link'), /flannel/);
  // Behind a NAT: the public address is another's, the packets leave with the uplink's.
  await open(t, one, { mtu: 1400 }).ensure({ ...self, publicIps: { 4: '203.0.113.7' } });
  t.regex(await one.ip('-d', 'link', 'show', 'flannel.1'), /mtu 1350 .*local 192\.0\.2\.1 dev eth0/s);
});

test('R19: this node has another address: the device follows, with its MAC, and its peers are reached again', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  const theirs = await makeFlannelByHand(two, '02:00:00:00:02:02');
  const backend = open(t, one);
  const self = await one.self();
  const { data } = await backend.ensure(self);
  await backend.sync(peersOf(theirs));
  const whole = await entries(one);
  await one.ip('addr', 'del', '192.0.2.1/24', 'dev', 'eth0');
  await one.ip('addr', 'add', '192.0.2.71/24', 'dev', 'eth0');
  const ready = await backend.ensure({ ...self, publicIps: { 4: '192.0.2.71' } });
  t.deepEqual(ready.data, data);
  // Whatever is asked for next: what was written is gone with the device.
  await backend.sync(peersOf(theirs), new Set());
  t.deepEqual(await entries(one), whole);
  t.regex(await one.ip('-d', 'link', 'show', 'flannel.1'), /local 192\.0\.2\.71 /);
  await addFlannelPeerByHand(two, { ...one.peer('vxlan', data), publicIps: { 4: '192.0.2.71' } });
  t.true(await doesReach(one.pod, '10.244.2.2'));

  // The wire itself is another one, of another index: the kernel takes the device away with the old one.
  await net.netns.ip('link', 'delete', 'host1');
  await net.netns.ip('link', 'add', 'host1', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', one.name);
  await net.netns.ip('link', 'set', 'host1', 'master', 'switch', 'up');
  await one.ip('addr', 'add', '192.0.2.71/24', 'dev', 'eth0');
  await one.ip('link', 'set', 'eth0', 'up');
  t.deepEqual((await backend.ensure({ ...(await one.self()), publicIps: { 4: '192.0.2.71' } })).data, data);
  await backend.sync(peersOf(theirs));
  t.deepEqual(await entries(one), whole);
  await eventually('the other pod', () => reaches(one.pod, '10.244.2.2'));
});
