/** The route socket against iproute2: what one writes, the other must read the same way. */
import test, { type ExecutionContext } from 'ava';
import { openRtnetlink, type Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

async function setUp(t: ExecutionContext): Promise<{ netns: TestNetns; netlink: Rtnetlink }> {
  const netns = await createTestNetns(t, 'rt');
  const netlink = openRtnetlink(netns.path);
  t.teardown(() => netlink.close());
  return { netns, netlink };
}

interface IpLink {
  ifindex: number;
  ifname: string;
  mtu: number;
  address: string;
  operstate: string;
  flags: string[];
  master?: string;
  ifalias?: string;
  linkinfo?: { info_kind?: string; info_slave_data?: { hairpin: boolean } };
}

test('bridge: create, read by name and index, change, delete', async (t) => {
  const { netns, netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0', mtu: 1400, mac: '0a:58:01:02:03:04', up: true });
  await netlink.setLink('br0', { alias: 'a bridge' });
  const [seen] = await netns.ipJson<IpLink>('-d', 'link', 'show', 'br0');
  t.is(seen?.linkinfo?.info_kind, 'bridge');
  t.is(seen?.mtu, 1400);
  t.is(seen?.address, '0a:58:01:02:03:04');
  t.is(seen?.ifalias, 'a bridge');
  t.true(seen?.flags.includes('UP'));

  const link = await netlink.getLink('br0');
  t.like(link, {
    index: seen!.ifindex,
    name: 'br0',
    kind: 'bridge',
    mac: '0a:58:01:02:03:04',
    mtu: 1400,
    up: true,
    alias: 'a bridge',
  });
  // A bridge's own data has timers that run.
  t.deepEqual({ ...(await netlink.getLink(seen!.ifindex)), data: undefined }, { ...link, data: undefined });

  await netlink.setLink(link!.index, { up: false, mtu: 1300, name: 'br1', alias: '' });
  t.like(await netlink.getLink('br1'), { up: false, mtu: 1300, alias: undefined, index: link!.index });
  t.is(await netlink.getLink('br0'), undefined);

  await netlink.deleteLink('br1');
  t.deepEqual(await netns.ipJson('link', 'show', 'type', 'bridge'), []);
});

test('veth: both ends in one step, the peer in another namespace, as a hairpin port', async (t) => {
  const { netns, netlink } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  await netlink.createBridge({ name: 'br0', up: true });
  const bridge = (await netlink.getLink('br0'))!;
  await netlink.createVeth({
    name: 'veth0',
    mtu: 1450,
    masterIndex: bridge.index,
    up: true,
    peer: { name: 'eth0', mtu: 1450, mac: '0a:58:0a:f4:01:02', netns: pod.path },
  });
  await netlink.setLink('veth0', { alias: 'berth:id:ns/pod', hairpin: true });
  const inside = openRtnetlink(pod.path);
  t.teardown(() => inside.close());
  await inside.setLink('eth0', { up: true });

  const [port] = await netns.ipJson<IpLink>('-d', 'link', 'show', 'veth0');
  t.is(port?.master, 'br0');
  t.is(port?.ifalias, 'berth:id:ns/pod');
  t.is(port?.operstate, 'UP');
  t.true(port?.linkinfo?.info_slave_data?.hairpin);
  const [end] = await pod.ipJson<IpLink>('link', 'show', 'eth0');
  t.like(end, { mtu: 1450, address: '0a:58:0a:f4:01:02', operstate: 'UP' });

  const link = await netlink.getLink('veth0');
  t.like(link, {
    kind: 'veth',
    masterIndex: bridge.index,
    peerIndex: end!.ifindex,
    operationalState: 'up',
    bridgePort: { hairpin: true },
  });
  t.not(link?.peerNetnsId, undefined);
  await netlink.setLink('veth0', { hairpin: false, isolated: true });
  t.deepEqual((await netlink.getLink('veth0'))?.bridgePort, { hairpin: false, isolated: true });
  await netlink.setLink('veth0', { masterIndex: 0 });
  t.is((await netlink.getLink('veth0'))?.masterIndex, undefined);

  await netlink.deleteLink('veth0');
  t.deepEqual(
    (await pod.ipJson<IpLink>('link')).map(({ ifname }) => ifname),
    ['lo'],
  );
});

test('an over-long alias is cut, not refused', async (t) => {
  const { netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0' });
  await netlink.setLink('br0', { alias: 'x'.repeat(400) });
  t.is((await netlink.getLink('br0'))?.alias, 'x'.repeat(255));
});

test('links: the list equals what ip shows', async (t) => {
  const { netns, netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0', up: true });
  await netlink.createVeth({ name: 'one', peer: { name: 'two' } });
  const ours = (await netlink.listLinks()).map(({ index, name, mtu }) => ({ index, name, mtu }));
  const theirs = await netns.ipJson<IpLink>('link');
  t.deepEqual(
    ours,
    theirs.map(({ ifindex, ifname, mtu }) => ({ index: ifindex, name: ifname, mtu })),
  );
});

test('errors carry the errno name and what was tried', async (t) => {
  const { netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0' });
  await t.throwsAsync(netlink.createBridge({ name: 'br0' }), { code: 'EEXIST', message: /create bridge br0: EEXIST/ });
  await t.throwsAsync(netlink.deleteLink('nothing'), { code: 'ENODEV' });
  await t.throwsAsync(netlink.deleteRoute({ destination: '10.9.0.0/16' }), { code: 'ESRCH' });
  await t.throwsAsync(netlink.addRoute({ destination: '0.0.0.0/0', gateway: '10.1.1.1' }), { code: 'ENETUNREACH' });
  await t.throwsAsync(netlink.setLink('br0', { mtu: 1 }), { code: 'EINVAL' });
  await t.throwsAsync(netlink.createVeth({ name: 'v', peer: { name: 'p', netns: '/run/netns/no-such' } }), {
    code: 'ENOENT',
  });
});

test('addresses: add with broadcast, list, delete; IPv6 too', async (t) => {
  const { netns, netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0', up: true });
  const { index } = (await netlink.getLink('br0'))!;
  await netlink.addAddress({ linkIndex: index, address: '10.244.1.1/24' });
  await netlink.addAddress({ linkIndex: index, address: '10.7.7.7/32' });
  await netlink.addAddress({ linkIndex: index, address: 'fd00::1/64' });
  await t.throwsAsync(netlink.addAddress({ linkIndex: index, address: '10.244.1.1/24' }), { code: 'EEXIST' });

  interface IpAddress {
    addr_info: { local: string; prefixlen: number; broadcast?: string; scope: string }[];
  }
  const [seen] = await netns.ipJson<IpAddress>('-4', 'addr', 'show', 'br0');
  t.deepEqual(
    seen?.addr_info.map(({ local, prefixlen, broadcast, scope }) => ({ local, prefixlen, broadcast, scope })),
    [
      { local: '10.244.1.1', prefixlen: 24, broadcast: '10.244.1.255', scope: 'global' },
      { local: '10.7.7.7', prefixlen: 32, broadcast: undefined, scope: 'global' },
    ],
  );
  const ours = await netlink.listAddresses({ linkIndex: index, family: 4 });
  t.deepEqual(
    ours.map(({ address, broadcast, scope }) => ({ address, broadcast, scope })),
    [
      { address: '10.244.1.1/24', broadcast: '10.244.1.255', scope: 'global' },
      { address: '10.7.7.7/32', broadcast: undefined, scope: 'global' },
    ],
  );
  t.true((await netlink.listAddresses({ linkIndex: index, family: 6 })).some((one) => one.address === 'fd00::1/64'));
  const [loopback] = await netlink.listAddresses({ linkIndex: 1, family: 4 });
  t.like(loopback, { address: '127.0.0.1/8', scope: 'host' });

  await netlink.deleteAddress({ linkIndex: index, address: '10.7.7.7/32' });
  await t.throwsAsync(netlink.deleteAddress({ linkIndex: index, address: '10.7.7.7/32' }), { code: 'EADDRNOTAVAIL' });
  t.is((await netlink.listAddresses({ linkIndex: index, family: 4 })).length, 1);
});

interface IpRoute {
  type?: string;
  dst: string;
  gateway?: string;
  dev?: string;
  protocol?: string;
  metric?: number;
  scope?: string;
  prefsrc?: string;
  flags: string[];
  table?: string;
}

test('routes: default, unreachable, blackhole, onlink, metric, protocol, table, replace, delete', async (t) => {
  const { netns, netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0', up: true });
  const { index } = (await netlink.getLink('br0'))!;
  await netlink.addAddress({ linkIndex: index, address: '10.1.0.1/24' });
  await netlink.addRoute({ destination: '0.0.0.0/0', gateway: '10.1.0.254', protocol: 190 });
  await netlink.addRoute({ type: 'unreachable', destination: '10.244.0.0/16', metric: 4_278_198_272, protocol: 190 });
  await netlink.addRoute({ type: 'blackhole', destination: '10.96.0.0/12', protocol: 190 });
  await netlink.addRoute({ destination: '10.244.2.0/24', gateway: '10.244.2.0', linkIndex: index, onlink: true });
  await netlink.addRoute({ destination: '10.5.0.0/24', linkIndex: index, source: '10.1.0.1', metric: 7 });
  await netlink.addRoute({ destination: '10.6.0.0/24', gateway: '10.1.0.9', table: 1000 });
  await t.throwsAsync(netlink.addRoute({ destination: '10.5.0.0/24', linkIndex: index, metric: 7 }), {
    code: 'EEXIST',
  });

  const seen = await netns.ipJson<IpRoute>('-N', '-d', 'route', 'show', 'table', 'main');
  const route = (dst: string) => seen.find((one) => one.dst === dst);
  t.like(route('default'), { gateway: '10.1.0.254', dev: 'br0', protocol: '190' });
  t.like(route('10.244.0.0/16'), { type: '7', metric: 4_278_198_272, protocol: '190' });
  t.like(route('10.96.0.0/12'), { type: '6' });
  t.deepEqual(route('10.244.2.0/24')?.flags.includes('onlink'), true);
  t.like(route('10.5.0.0/24'), { prefsrc: '10.1.0.1', metric: 7, scope: '253' });
  const other = await netns.ipJson<IpRoute>('route', 'show', 'table', '1000');
  t.is(other[0]?.dst, '10.6.0.0/24');

  const ours = await netlink.listRoutes({ family: 4, table: 254, protocol: 190 });
  t.deepEqual(
    ours.map(({ type, destination, gateway, metric }) => ({ type, destination, gateway, metric })).toSorted(byText),
    [
      { type: 'unicast' as const, destination: '0.0.0.0/0', gateway: '10.1.0.254', metric: 0 },
      { type: 'blackhole' as const, destination: '10.96.0.0/12', gateway: undefined, metric: 0 },
      { type: 'unreachable' as const, destination: '10.244.0.0/16', gateway: undefined, metric: 4_278_198_272 },
    ].toSorted(byText),
  );
  t.is((await netlink.listRoutes({ family: 4, table: 1000 })).length, 1);

  await netlink.replaceRoute({ destination: '10.5.0.0/24', gateway: '10.1.0.3', metric: 7 });
  t.is((await netlink.listRoutes({ family: 4 })).find((one) => one.destination === '10.5.0.0/24')?.gateway, '10.1.0.3');
  for (const one of ours) await netlink.deleteRoute(one);
  await netlink.deleteRoute({ destination: '10.244.2.0/24' });
  await netlink.deleteRoute({ destination: '10.6.0.0/24', table: 1000 });
  t.deepEqual((await netns.ipJson<IpRoute>('route')).map(({ dst }) => dst).toSorted(), ['10.1.0.0/24', '10.5.0.0/24']);
});

function byText(one: object, other: object): number {
  return JSON.stringify(one) < JSON.stringify(other) ? -1 : 1;
}

test('neighbours: permanent entry, list, delete', async (t) => {
  const { netns, netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0', up: true });
  const { index } = (await netlink.getLink('br0'))!;
  await netlink.setNeighbour({ linkIndex: index, address: '10.244.2.0', mac: '02:00:00:00:00:01' });
  interface IpNeighbour {
    dst: string;
    lladdr: string;
    state: string[];
  }
  const seen = await netns.ipJson<IpNeighbour>('neigh', 'show', 'dev', 'br0');
  t.like(seen[0], { dst: '10.244.2.0', lladdr: '02:00:00:00:00:01', state: ['PERMANENT'] });
  // The kernel keeps entries of its own for multicast groups.
  const ours = async () =>
    (await netlink.listNeighbours({ linkIndex: index, family: 4 })).filter((one) => one.state !== 'noarp');
  t.deepEqual(await ours(), [
    { linkIndex: index, address: '10.244.2.0', mac: '02:00:00:00:00:01', state: 'permanent' },
  ]);
  await netlink.deleteNeighbour({ linkIndex: index, address: '10.244.2.0' });
  t.deepEqual(await ours(), []);
});

test('requests sent together are carried out in order, and a large dump arrives whole', async (t) => {
  const { netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0', up: true });
  const { index } = (await netlink.getLink('br0'))!;
  const destinations = Array.from({ length: 2000 }, (_, n) => `10.${200 + (n >> 8)}.${n & 255}.0/24`);
  await Promise.all(destinations.map((destination) => netlink.addRoute({ destination, linkIndex: index })));
  t.deepEqual(
    (await netlink.listRoutes({ family: 4, table: 254 })).map((route) => route.destination),
    destinations,
  );
});

test('requests that the kernel answers at once let the event loop turn', async (t) => {
  const { netlink } = await setUp(t);
  let turns = 0;
  let isDone = false;
  const turn = () => {
    turns++;
    if (!isDone) setImmediate(turn);
  };
  setImmediate(turn);
  // Each answer is there when its request has been sent: without a limit none of them would wait.
  for (let n = 0; n < 5000; n++) await netlink.getLink('lo');
  isDone = true;
  t.true(turns > 2, `${turns} turns`);
});

test('dumps asked for at the same time wait for each other', async (t) => {
  const { netlink } = await setUp(t);
  await netlink.createBridge({ name: 'br0', up: true });
  const { index } = (await netlink.getLink('br0'))!;
  const destinations = Array.from({ length: 500 }, (_, n) => `10.200.${n >> 8}.${n & 255}/32`);
  await Promise.all(destinations.map((destination) => netlink.addRoute({ destination, linkIndex: index })));
  const [routes, links, again, addresses] = await Promise.all([
    netlink.listRoutes({ family: 4, table: 254 }),
    netlink.listLinks(),
    netlink.listRoutes({ family: 4, table: 254 }),
    netlink.listAddresses(),
  ]);
  t.is(routes.length, 500);
  t.is(again.length, 500);
  t.is(links.length, 2);
  t.true(addresses.length >= 1);
});

test('after close requests fail with EBADF, pending ones too', async (t) => {
  const { netlink } = await setUp(t);
  const pending = netlink.listLinks();
  netlink.close();
  await t.throwsAsync(pending, { code: 'EBADF' });
  await t.throwsAsync(netlink.listLinks(), { code: 'EBADF' });
});

test('opening a namespace that is gone says ENOENT', (t) => {
  t.throws(() => openRtnetlink('/run/netns/berth-no-such'), { code: 'ENOENT' });
});
