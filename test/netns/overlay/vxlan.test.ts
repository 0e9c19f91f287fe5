/** The VXLAN backend between namespaced hosts: beside a flannel node made by hand with ip(8), and beside itself. */
import test from 'ava';
import type { Peer } from '../../../cni/overlay/backend.ts';
import type { VxlanBackendData } from '../../../cni/overlay/vxlan/backend-data.ts';
import { writeSysctl } from '../../../src/linux/sysctl.ts';
import { eventually } from '../../support/eventually.ts';
import { createOverlaySwitch, doesReach, type OverlayHost, reaches } from '../../support/overlay-hosts.ts';
import { createRandom } from '../../support/random.ts';
import { addFlannelPeerByHand, entries, makeFlannelByHand, names, open, peersOf } from '../../support/vxlan-scene.ts';

const RANDOM_STEPS = 20;

/** All that ip(8) says of the device and the kernel of how it passes packets, but for what is each node's own. */
async function describeDevice(host: OverlayHost): Promise<unknown> {
  const [link] = await host.ipJson<Record<string, unknown> & { linkinfo: { info_data: object } }>(
    ...['-d', 'link', 'show', 'flannel.1'],
  );
  const { ifindex: _index, address: _mac, ifalias: _owner, linkinfo, ...shown } = link!;
  return { ...shown, linkinfo: { ...linkinfo, info_data: { ...linkinfo.info_data, local: 'own' } } };
}

test('a node of ours and one made by hand after flannel: the state of the oracle, and pods that reach each other', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  const theirs = await makeFlannelByHand(two, '02:00:00:00:02:02');
  const backend = open(t, one);
  const self = await one.self();
  const ready = await backend.ensure(self);
  t.is(ready.mtu, 1450);
  const { VtepMAC } = ready.data[4] as VxlanBackendData;
  t.deepEqual(ready.data, { 4: { VNI: 1, VtepMAC } });
  await addFlannelPeerByHand(two, one.peer('vxlan', ready.data));
  t.deepEqual(await backend.sync(peersOf(theirs)), { changed: 3, skipped: [] });

  t.regex(
    await one.ip('-d', 'link', 'show', 'flannel.1'),
    new RegExp(`mtu 1450 .*${VtepMAC}.*vxlan id 1 local 192.0.2.1 dev eth0 .*dstport 8472 nolearning`, 's'),
  );
  t.regex(await one.ip('addr', 'show', 'flannel.1'), /inet 10\.244\.1\.0\/32 scope global flannel\.1/);
  const routes = await one.ip('-N', 'route');
  t.regex(routes, /^10\.244\.1\.0\/24 dev cni0 .*src 10\.244\.1\.1/m);
  t.regex(routes, /^10\.244\.2\.0\/24 via 10\.244\.2\.0 dev flannel\.1 proto 191 onlink/m);
  t.regex(await one.ip('neigh', 'show', 'dev', 'flannel.1'), /^10\.244\.2\.0 lladdr 02:00:00:00:02:02 PERMANENT/m);
  t.regex(
    await one.run('bridge', ['fdb', 'show', 'dev', 'flannel.1']),
    /^02:00:00:00:02:02 dst 192\.0\.2\.2 self permanent/m,
  );

  // What carries packets is the kernel alone, and to it our device is the one made by hand.
  const [ours, byHand] = await Promise.all([one, two].map(describeDevice));
  t.deepEqual(ours, byHand);
  t.true(await doesReach(one.pod, '10.244.2.2', 1450), 'as large a packet as the overlay says');
  t.true(await doesReach(two.pod, '10.244.1.2', 1450));
  t.true(await doesReach(one, '10.244.2.2'), 'the node itself');
  t.false(await reaches(one.pod, '10.244.9.2'));

  t.deepEqual(await backend.sync(peersOf(theirs)), { changed: 0, skipped: [] });
  t.deepEqual(await backend.sync(peersOf(), names(two)), { changed: 3, skipped: [] });
  t.deepEqual(await entries(one), []);
  await backend.remove();
  await backend.remove();
  t.notRegex(await one.ip('link'), /flannel/);
});

test('a flannel node whose place we take: its device, MAC and entries stay, and traffic with them', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  const mac = '02:00:00:00:01:01';
  const [ours, theirs] = [await makeFlannelByHand(one, mac), await makeFlannelByHand(two, '02:00:00:00:02:02')];
  await addFlannelPeerByHand(one, theirs);
  await addFlannelPeerByHand(two, ours);
  const before = await one.ipJson<{ ifindex: number }>('link', 'show', 'flannel.1');
  const backend = open(t, one);
  t.deepEqual((await backend.ensure(await one.self())).data, { 4: { VNI: 1, VtepMAC: mac } });
  t.deepEqual(await backend.sync(peersOf(theirs)), { changed: 1, skipped: [] }, "the route's protocol");
  const after = await one.ipJson<{ ifindex: number }>('link', 'show', 'flannel.1');
  t.is(after[0]!.ifindex, before[0]!.ifindex);
  t.true(await doesReach(one.pod, '10.244.2.2'));
});

test('a full sync mends whatever somebody has done, and touches nothing else', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two, three] = [await net.addHost(1), await net.addHost(2), await net.addHost(3)];
  const peers = peersOf(
    two.peer('vxlan', { 4: { VNI: 1, VtepMAC: '02:00:00:00:02:02' } }),
    three.peer('vxlan', { 4: { VNI: 1, VtepMAC: '02:00:00:00:03:03' } }),
  );
  const backend = open(t, one);
  await backend.ensure(await one.self());
  t.is((await backend.sync(peers)).changed, 6);
  const whole = await entries(one);
  t.is(whole.length, 6);

  const harms: string[][] = [
    ['route', 'del', '10.244.2.0/24'],
    ['route', 'replace', '10.244.3.0/24', 'via', '10.244.2.0', 'dev', 'flannel.1', 'onlink', 'proto', '191'],
    ['neigh', 'del', '10.244.2.0', 'dev', 'flannel.1'],
    ['neigh', 'replace', '10.244.3.0', 'lladdr', '02:00:00:00:09:09', 'dev', 'flannel.1', 'nud', 'permanent'],
    ['neigh', 'add', '10.244.8.0', 'lladdr', '02:00:00:00:08:08', 'dev', 'flannel.1', 'nud', 'permanent'],
    ['addr', 'flush', 'dev', 'flannel.1'],
    ['addr', 'add', '10.244.99.0/32', 'dev', 'flannel.1'],
    ['link', 'set', 'flannel.1', 'address', '02:00:00:00:aa:aa'],
    ['link', 'set', 'flannel.1', 'mtu', '1300'],
    ['link', 'set', 'flannel.1', 'down'],
    ['link', 'delete', 'flannel.1'],
  ];
  const shown = async () => (await one.ip('-o', 'addr', 'show', 'flannel.1')).match(/inet \S+/g);
  const device = async () => (await one.ip('link', 'show', 'flannel.1')).replace(/^\d+/, '');
  const [addresses, link] = [await shown(), await device()];
  for (const harm of harms) {
    await one.ip(...harm);
    await backend.sync(peers);
    t.deepEqual(await entries(one), whole, harm.join(' '));
    t.deepEqual(await shown(), addresses, harm.join(' '));
    t.is(await device(), link, harm.join(' '));
  }
  await one.run('bridge', ['fdb', 'del', '02:00:00:00:02:02', 'dev', 'flannel.1', 'dst', '192.0.2.2', 'self']);
  await one.run('bridge', ['fdb', 'replace', '02:00:00:00:03:03', 'dev', 'flannel.1', 'dst', '192.0.2.9', 'self']);
  await one.run('bridge', ['fdb', 'add', '02:00:00:00:04:04', 'dev', 'flannel.1', 'dst', '192.0.2.4', 'self']);
  await one.ip('route', 'add', '10.77.0.0/16', 'via', '192.0.2.3');
  t.is((await backend.sync(peers)).changed, 3);
  t.deepEqual(await entries(one), whole);
  t.regex(await one.ip('route'), /10\.77\.0\.0\/16 via 192\.0\.2\.3/, 'is nobody’s but its maker’s');
});

test('a peer that changes costs its own entries: another address, another MAC, another pod CIDR, gone', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two, three] = [await net.addHost(1), await net.addHost(2), await net.addHost(3)];
  const backend = open(t, one);
  await backend.ensure(await one.self());
  const still = three.peer('vxlan', { 4: { VNI: 1, VtepMAC: '02:00:00:00:03:03' } });
  const at = (change: Partial<Peer>): Peer => ({
    ...two.peer('vxlan', { 4: { VNI: 1, VtepMAC: '02:00:00:00:02:02' } }),
    ...change,
  });
  await backend.sync(peersOf(at({}), still));
  const others = (await entries(one)).filter((line) => /\.3\.|03:03/.test(line));
  const own = async () => (await entries(one)).filter((line) => !others.includes(line));
  const steps: [Partial<Peer>, number, string[]][] = [
    [{ publicIps: { 4: '192.0.2.22' } }, 1, ['02:00:00:00:02:02 dst 192.0.2.22 self permanent']],
    [
      { backendData: { 4: { VtepMAC: '02:00:00:00:02:EE' } } },
      3,
      ['10.244.2.0 lladdr 02:00:00:00:02:ee PERMANENT', '02:00:00:00:02:ee dst 192.0.2.2 self permanent'],
    ],
    [
      { podCidrs: { 4: '10.244.22.0/24' } },
      6,
      [
        '10.244.22.0 lladdr 02:00:00:00:02:02 PERMANENT',
        '10.244.22.0/24 via 10.244.22.0 dev flannel.1 proto 191 onlink',
      ],
    ],
  ];
  for (const [change, messages, lines] of steps) {
    const outcome = await backend.sync(peersOf(at(change), still), names(two));
    t.deepEqual(outcome, { changed: messages, skipped: [] });
    const have = await own();
    t.is(have.length, 3);
    for (const line of lines) t.true(have.includes(line), `${line} in ${have.join('; ')}`);
  }
  t.deepEqual(await backend.sync(peersOf(at(steps[2]![0]), still), names(two, three)), { changed: 0, skipped: [] });
  await backend.sync(peersOf(still), names(two));
  t.deepEqual(await own(), []);
  t.is((await entries(one)).length, 3);
});

test('peers that cannot be reached are named with the reason, and nothing of theirs is written', async (t) => {
  const net = await createOverlaySwitch(t);
  const one = await net.addHost(1);
  const backend = open(t, one);
  await backend.ensure(await one.self());
  const peer = (number: number, change: Partial<Peer>): Peer => ({
    node: `node${number}`,
    podCidrs: { 4: `10.244.${number}.0/24` },
    publicIps: { 4: `192.0.2.${number}` },
    backendType: 'vxlan',
    backendData: { 4: { VNI: 1, VtepMAC: `02:00:00:00:00:0${number}` } },
    ...change,
  });
  await one.ip('route', 'add', '10.244.9.0/24', 'via', '192.0.2.200');
  const { changed, skipped } = await backend.sync(
    peersOf(
      peer(2, { backendType: 'host-gw' }),
      peer(3, { backendType: undefined }),
      peer(4, { backendData: {} }),
      peer(5, { backendData: { 4: { VNI: 1, VtepMAC: '01:00:5e:00:00:01' } } }),
      peer(6, { backendData: { 4: { VNI: 2, VtepMAC: '02:00:00:00:00:06' } } }),
      peer(7, { publicIps: {} }),
      peer(8, { publicIps: { 4: '192.0.2.1' } }),
      peer(9, {}),
      peer(10, { podCidrs: {} }),
      peer(11, { backendData: { 4: { VNI: 1, VtepMAC: '02:00:00:00:00:0a' } } }),
      peer(12, { backendData: { 4: { VNI: 1, VtepMAC: '02:00:00:00:00:0a' } } }),
    ),
  );
  const reasons = Object.fromEntries(skipped.map(({ node, reason }) => [node, reason]));
  t.regex(reasons['node2']!, /its backend is host-gw, ours vxlan/);
  t.regex(reasons['node3']!, /has not said yet which backend/);
  t.regex(reasons['node4']!, /no VtepMAC/);
  t.regex(reasons['node5']!, /"01:00:5e:00:00:01" is no MAC address of a single device/);
  t.regex(reasons['node6']!, /its VNI is 2, ours 1/);
  t.regex(reasons['node7']!, /no public IPv4 address/);
  t.regex(reasons['node8']!, /192\.0\.2\.1 is this node's own/);
  t.regex(reasons['node9']!, /another program has a route to its pods \(10\.244\.9\.0\/24 via 192\.0\.2\.200/);
  t.regex(reasons['node12']!, /its VtepMAC 02:00:00:00:00:0a is node node11's too/);
  t.is(skipped.length, 9);
  t.is((await entries(one)).length, 3, 'of node 11 alone');
  t.true(changed >= 3);

  // What was in the way goes: the clash by itself, the foreign route with the next full sync.
  const freed = await backend.sync(
    peersOf(peer(12, { backendData: { 4: { VNI: 1, VtepMAC: '02:00:00:00:00:0a' } } })),
    new Set(['node11']),
  );
  t.deepEqual(freed.skipped, []);
  t.true((await entries(one)).some((line) => line.startsWith('10.244.12.0 ')));
});

test('both families, each over its own underlay, with the MTU that the longer headers leave', async (t) => {
  const net = await createOverlaySwitch(t);
  const families = [4, 6] as const;
  const [one, two] = [await net.addHost(1, { families }), await net.addHost(2, { families })];
  const backends = [open(t, one), open(t, two)];
  const first = await backends[0]!.ensure(await one.self());
  const second = await backends[1]!.ensure(await two.self());
  t.is(first.mtu, 1430);
  await backends[0]!.sync(peersOf(two.peer('vxlan', second.data)));
  await backends[1]!.sync(peersOf(one.peer('vxlan', first.data)));
  // The first packet waits until IPv6 has made sure of its own addresses.
  for (const to of ['10.244.2.2', 'fd00:244:2::2']) await eventually(to, () => reaches(one.pod, to, 1430));
  t.true(await doesReach(two, 'fd00:244:1::2'));
  t.regex(await one.ip('-6', 'route'), /fd00:244:2::\/64 via fd00:244:2:: dev flannel-v6\.1 proto 191/);
  t.deepEqual(await backends[0]!.sync(peersOf(two.peer('vxlan', second.data))), { changed: 0, skipped: [] });
  // The other node loses a family, and so does this one.
  const lost = await backends[0]!.sync(
    peersOf({ ...two.peer('vxlan', second.data), podCidrs: { 4: '10.244.2.0/24' } }),
    names(two),
  );
  t.deepEqual(lost, { changed: 3, skipped: [] });
  const self = await one.self();
  await backends[0]!.ensure({ ...self, podCidrs: { 4: self.podCidrs[4]! } });
  t.notRegex(await one.ip('link'), /flannel-v6/);
  await backends[1]!.remove();
  t.notRegex(await two.ip('link'), /flannel/);
  t.notRegex(await two.ip('-6', 'route'), /proto 191/);
});

test('DirectRouting: neighbours are reached without VXLAN, nodes behind a router with it', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  writeSysctl('net.ipv4.conf.all.rp_filter', '1', { netns: one.path });
  const backend = open(t, one, { directRouting: true });
  const { data } = await backend.ensure(await one.self());
  const near = await makeFlannelByHand(two, '02:00:00:00:02:02');
  await addFlannelPeerByHand(two, one.peer('vxlan', data));
  const far: Peer = { ...near, node: 'node3', podCidrs: { 4: '10.244.3.0/24' }, publicIps: { 4: '198.51.100.3' } };
  far.backendData = { 4: { VNI: 1, VtepMAC: '02:00:00:00:03:03' } };
  await one.ip('route', 'add', 'default', 'via', '192.0.2.2');
  await backend.sync(peersOf(near, far));
  const routes = await one.ip('-N', 'route');
  t.regex(routes, /10\.244\.2\.0\/24 via 192\.0\.2\.2 dev eth0 proto 191/);
  t.regex(routes, /10\.244\.3\.0\/24 via 10\.244\.3\.0 dev flannel\.1 proto 191 onlink/);
  t.is((await entries(one)).filter((line) => line.includes('02:02')).length, 0, 'no tunnel to the neighbour');
  t.true(await doesReach(one.pod, '10.244.2.2'), 'the answer comes through the tunnel: loose rp_filter');
  const filter = 'net/ipv4/conf/flannel.1/rp_filter';
  const { previous } = writeSysctl(filter, '0', { netns: one.path })!;
  t.false(await reaches(one.pod, '10.244.2.2'), 'a strict one would drop it');
  writeSysctl(filter, previous, { netns: one.path });
  t.deepEqual(await backend.sync(peersOf(near, far)), { changed: 0, skipped: [] });
  // The neighbour moves away.
  await backend.sync(peersOf({ ...near, publicIps: { 4: '198.51.100.2' } }, far), names(two));
  t.regex(await one.ip('route'), /10\.244\.2\.0\/24 via 10\.244\.2\.0 dev flannel\.1/);
  await backend.remove();
  t.notRegex(await one.ip('-N', 'route'), /proto 191/);
});

test('Learning and GBP: devices of that make carry pods all the same', async (t) => {
  const net = await createOverlaySwitch(t);
  const hosts = [await net.addHost(1), await net.addHost(2)] as const;
  const options = { vni: 4096, port: 4789, mtu: 1400, learning: true, groupPolicy: true };
  const backends = hosts.map((host) => open(t, host, options));
  const ready = [await backends[0]!.ensure(await hosts[0].self()), await backends[1]!.ensure(await hosts[1].self())];
  await backends[0]!.sync(peersOf(hosts[1].peer('vxlan', ready[1]!.data)));
  await backends[1]!.sync(peersOf(hosts[0].peer('vxlan', ready[0]!.data)));
  t.true(await doesReach(hosts[0].pod, '10.244.2.2', 1350));
  t.regex(
    await hosts[0].ip('-d', 'link', 'show', 'flannel.4096'),
    /mtu 1350 .*vxlan id 4096 .*dstport 4789 (?!.*nolearning).*gbp/s,
  );
  // What a device learns is its own affair.
  t.deepEqual(await backends[0]!.sync(peersOf(hosts[1].peer('vxlan', ready[1]!.data))), { changed: 0, skipped: [] });
});

test('random changes one by one come to the same as a comparison of everything', async (t) => {
  const net = await createOverlaySwitch(t);
  const one = await net.addHost(1);
  const backend = open(t, one);
  await backend.ensure(await one.self());
  const random = createRandom(20_26);
  const peers = new Map<string, Peer>();
  // Few of each, so that nodes take over each other's addresses, MACs and pods; some are wrong.
  const randomPeer = (node: string): Peer => ({
    node,
    podCidrs: random.isTrue(0.1) ? {} : { 4: `10.244.${2 + random.below(9)}.0/24` },
    publicIps: random.isTrue(0.05) ? {} : { 4: `192.0.2.${2 + random.below(9)}` },
    backendType: random.isTrue(0.1) ? 'host-gw' : 'vxlan',
    backendData: { 4: { VNI: 1, VtepMAC: `02:00:00:00:00:0${2 + random.below(7)}` } },
  });
  for (let step = 0; step < RANDOM_STEPS; step++) {
    const changed = new Set<string>();
    for (let count = 1 + random.below(3); count > 0; count--) {
      const node = `node${2 + random.below(8)}`;
      changed.add(node);
      if (random.isTrue(0.25)) peers.delete(node);
      else peers.set(node, randomPeer(node));
    }
    // Overlapping pod CIDRs do not come here: the table of peers keeps them out.
    const taken = new Set<string>();
    for (const [node, { podCidrs }] of peers) {
      if (podCidrs[4] === undefined || !taken.has(podCidrs[4])) taken.add(podCidrs[4] ?? '');
      else if (peers.delete(node)) changed.add(node);
    }
    await backend.sync(peers, changed);
    const written = await entries(one);
    const { changed: mended, skipped } = await backend.sync(peers);
    t.is(mended, 0, `step ${step}: ${written.join('; ')}`);
    const reachable = [...peers.values()].filter(({ podCidrs }) => podCidrs[4]).length;
    t.is(written.length, 3 * (reachable - skipped.length), `step ${step}: ${JSON.stringify(skipped)}`);
  }
});
