/** The overlay's daemon in namespaced hosts, with the nodes of a fake API server: what it makes, mends, takes over and takes away. */
import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { removeOverlay } from '../../../cni/overlay/remove.ts';
import { nodes } from '../../../src/kube/resources.ts';
import { run } from '../../../src/linux/exec.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import type { FakeKubeClient } from '../../fakes/kube-client.ts';
import { eventually } from '../../support/eventually.ts';
import { diffSnapshots, snapshotHost } from '../../support/host-snapshot.ts';
import { createOverlaySwitch, doesReach, type OverlayHost, reaches } from '../../support/overlay-hosts.ts';
import { createOverlayApi, draftNode, KEYS, type RunningOverlay, startOverlay } from '../../support/overlay-nodes.ts';

/** Of looks that no test waits for: what is mended was told of. */
const NEVER_MS = 3_600_000;

const podRoutes = async (host: OverlayHost) =>
  (await host.ipJson<{ dst: string; gateway?: string; dev: string; protocol: string }>('-N', 'route'))
    .filter(({ protocol }) => protocol === '191')
    .map(({ dst, gateway, dev }) => `${dst} via ${gateway} ${dev}`);

function seed(client: FakeKubeClient, host: OverlayHost, families: readonly (4 | 6)[] = [4]): void {
  const { number } = host;
  client.seed(
    nodes,
    draftNode(`node${number}`, {
      podCidrs: families.map((family) => (family === 4 ? `10.244.${number}.0/24` : `fd00:244:${number}::/64`)),
      internalIps: families.map((family) => (family === 4 ? `192.0.2.${number}` : `2001:db8::${number}`)),
    }),
  );
}

async function setUp(t: ExecutionContext, numbers: number[], families: readonly (4 | 6)[] = [4]) {
  const underlay = await createOverlaySwitch(t);
  const client = createOverlayApi();
  const hosts: OverlayHost[] = [];
  for (const number of numbers) {
    const host = await underlay.addHost(number, { families });
    seed(client, host, families);
    hosts.push(host);
  }
  return { underlay, client, hosts };
}

const networks = (families: readonly (4 | 6)[]) => ({
  ...(families.includes(4) && { 4: '10.244.0.0/16' }),
  ...(families.includes(6) && { 6: 'fd00:244::/32' }),
});

for (const [type, families] of [
  ['host-gw', [4]],
  ['vxlan', [4, 6]],
] as const)
  test(`${type}: pods of all nodes reach each other with their own addresses, over IPv${families.join(' and IPv')}`, async (t) => {
    const { client, hosts } = await setUp(t, [1, 2, 3], families);
    t.false(await reaches(hosts[0]!.pod, '10.244.2.2'), 'without an overlay');
    const overlays: RunningOverlay[] = [];
    for (const host of hosts)
      overlays.push(await startOverlay(t, host, client, { backend: { Type: type }, networks: networks(families) }));
    await eventually('all are ready and know two peers', () =>
      overlays.every((one) => one.state().ready && one.state().peers === 2 && one.state().skipped.length === 0),
    );
    for (const from of hosts)
      for (const to of hosts) {
        // A first packet may be lost while the nodes look for each other's links.
        const ways = [`10.244.${to.number}.2`, ...(families.length > 1 ? [`fd00:244:${to.number}::2`] : [])];
        for (const way of ways) await eventually(`${from.number} reaches ${way}`, () => reaches(from.pod, way));
      }
    const mtu = type === 'vxlan' ? 1430 : 1500;
    t.is(overlays[0]!.mtu(), mtu);
    const v6 = families.length > 1 ? 'FLANNEL_IPV6_NETWORK=fd00:244::/32\nFLANNEL_IPV6_SUBNET=fd00:244:1::1/64\n' : '';
    t.is(
      readFileSync(overlays[0]!.subnetFile, 'utf8'),
      `FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n${v6}FLANNEL_MTU=${mtu}\nFLANNEL_IPMASQ=false\n`,
    );
    const node = client.peek(nodes, 'node1')!;
    t.is(node.metadata.annotations?.[KEYS.managed], 'true');
    t.is(node.metadata.annotations?.[KEYS.type], type);
    t.is(node.metadata.annotations?.[KEYS.publicIp[4]], '192.0.2.1');
    t.is(node.metadata.annotations?.[KEYS.publicIp[6]], families.length > 1 ? '2001:db8::1' : undefined);
    t.like(
      node.status?.conditions?.find((one) => one.type === 'NetworkUnavailable'),
      { status: 'False', reason: 'FlannelIsUp' },
    );
    const writes = client.writes.length;
    await systemClock.sleep(700);
    t.is(client.writes.length, writes, 'what is said already is not said again');
  });

test('follows nodes that come, move and go, and mends what somebody deletes', async (t) => {
  const { client, hosts } = await setUp(t, [1]);
  const [host] = hosts as [OverlayHost];
  const overlay = await startOverlay(t, host, client);
  const become = async (want: string[]) => {
    await eventually(want.join() || 'no routes', async () => String(await podRoutes(host)) === String(want));
    t.deepEqual(await podRoutes(host), want);
  };
  await eventually('it is ready', () => overlay.state().ready);
  client.seed(nodes, draftNode('node2', { podCidrs: ['10.244.2.0/24'], internalIps: ['192.0.2.2'] }));
  client.seed(nodes, draftNode('node3', { internalIps: ['192.0.2.3'] }));
  await become(['10.244.2.0/24 via 192.0.2.2 eth0']);
  client.edit(nodes, 'node3', (node) => {
    node.spec.podCIDR = '10.244.3.0/24';
    node.spec.podCIDRs = ['10.244.3.0/24'];
  });
  await become(['10.244.2.0/24 via 192.0.2.2 eth0', '10.244.3.0/24 via 192.0.2.3 eth0']);
  await client.delete(nodes, { name: 'node3' });
  await become(['10.244.2.0/24 via 192.0.2.2 eth0']);
  client.edit(nodes, 'node2', (node) => {
    node.status!.addresses = [{ type: 'InternalIP', address: '192.0.2.99' }];
  });
  await become(['10.244.2.0/24 via 192.0.2.99 eth0']);
  await host.ip('route', 'del', '10.244.2.0/24');
  await become(['10.244.2.0/24 via 192.0.2.99 eth0']);
  await host.ip('route', 'replace', '10.244.2.0/24', 'via', '192.0.2.7', 'proto', '191');
  await become(['10.244.2.0/24 via 192.0.2.99 eth0']);
  await overlay.stop();
  t.is((await podRoutes(host)).length, 1, 'routes stay when the program ends');
});

test('R19: a node whose address changes while it runs says so at once, and its peers replace it by the event, not by a look now and then', async (t) => {
  const { client, hosts } = await setUp(t, [1, 2]);
  const [one, two] = hosts as [OverlayHost, OverlayHost];
  for (const backend of ['vxlan', 'host-gw']) {
    const overlays = [];
    // Only the node itself finds out by looking.
    for (const host of hosts)
      overlays.push(
        await startOverlay(t, host, client, {
          backend: { Type: backend },
          ...(host === one && { resyncMs: NEVER_MS }),
        }),
      );
    await eventually('they reach each other', () => reaches(one.pod, '10.244.2.2'));
    const next = backend === 'vxlan' ? '192.0.2.42' : '192.0.2.2';
    const before = client.peek(nodes, 'node2')!.metadata.annotations![KEYS.publicIp[4]]!;
    await two.ip('addr', 'del', `${before}/24`, 'dev', 'eth0');
    await two.ip('addr', 'add', `${next}/24`, 'dev', 'eth0');
    await eventually('the node says its new address', () => {
      return client.peek(nodes, 'node2')!.metadata.annotations![KEYS.publicIp[4]] === next;
    });
    await eventually('its peer has it', async () => {
      const fdb = await one.run('bridge', ['fdb', 'show']);
      return backend === 'vxlan'
        ? fdb.includes(`dst ${next}`)
        : (await podRoutes(one)).some((route) => route.includes(`via ${next} `));
    });
    await eventually('pods reach each other again', () => reaches(one.pod, '10.244.2.2'));
    // A restart finds the new address too.
    await Promise.all(overlays.map((overlay) => overlay.stop()));
  }
  t.pass();
});

test('a foreign route to the same pods is not touched, and named; flanneld’s own is taken over', async (t) => {
  const { client, hosts } = await setUp(t, [1, 2, 3]);
  const [host] = hosts as [OverlayHost];
  await host.ip('route', 'add', '10.244.2.0/24', 'via', '192.0.2.77');
  await host.ip('route', 'add', '10.244.3.0/24', 'via', '192.0.2.3', 'dev', 'eth0');
  const overlay = await startOverlay(t, host, client);
  await eventually('it is ready', () => overlay.state().ready);
  t.deepEqual(await podRoutes(host), ['10.244.3.0/24 via 192.0.2.3 eth0'], 'the route that we want became ours');
  t.regex(await host.ip('route'), /10\.244\.2\.0\/24 via 192\.0\.2\.77/);
  const [skipped] = overlay.state().skipped;
  t.is(skipped?.node, 'node2');
  t.regex(skipped!.reason, /another program has a route to its pods \(10\.244\.2\.0\/24 via 192\.0\.2\.77/);
  await host.ip('route', 'del', '10.244.2.0/24');
  await eventually('the way is free', async () => (await podRoutes(host)).length === 2);
  await eventually('nothing is skipped any more', () => overlay.state().skipped.length === 0);
  t.is(overlay.complaints.length, 1, 'said once, however often it was looked at');
});

test('overlapping subnets: who was there first keeps its pods; this node’s own and its uplink’s are nobody’s', async (t) => {
  const { client, hosts } = await setUp(t, [1, 2]);
  const [host] = hosts as [OverlayHost];
  const late = { creationTimestamp: '2026-02-01T00:00:00Z', internalIps: ['192.0.2.9'] };
  client.seed(nodes, draftNode('thief', { ...late, podCidrs: ['10.244.2.128/25'] }));
  client.seed(nodes, draftNode('own', { ...late, podCidrs: ['10.244.1.0/24'] }));
  client.seed(nodes, draftNode('wire', { ...late, podCidrs: ['192.0.2.0/25'], internalIps: ['198.51.100.9'] }));
  client.seed(nodes, draftNode('services', { ...late, podCidrs: ['10.96.0.0/12'] }));
  const overlay = await startOverlay(t, host, client);
  await eventually('it is ready', () => overlay.state().ready);
  t.deepEqual(await podRoutes(host), ['10.244.2.0/24 via 192.0.2.2 eth0']);
  t.deepEqual(Object.fromEntries(overlay.state().skipped.map(({ node, reason }) => [node, reason])), {
    thief: 'its pod CIDR 10.244.2.128/25 clashes with 10.244.2.0/24 of node node2',
    own: 'its pod CIDR 10.244.1.0/24 clashes with 10.244.1.0/24 of this node',
    wire: "its pod CIDR 192.0.2.0/25 is not within 10.244.0.0/16, the pods' network of this node",
    services: "its pod CIDR 10.96.0.0/12 is not within 10.244.0.0/16, the pods' network of this node",
  });
  await client.delete(nodes, { name: 'node2' });
  await eventually('the heir has its pods', async () =>
    String(await podRoutes(host)).startsWith('10.244.2.128/25 via 192.0.2.9'),
  );
});

test('what another backend left goes at the start: our links, and flanneld’s where we take its place', async (t) => {
  const { client, hosts } = await setUp(t, [1, 2]);
  const [host] = hosts as [OverlayHost];
  const links = async () => (await host.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname);
  const first = await startOverlay(t, host, client, { backend: { Type: 'vxlan' } });
  client.edit(nodes, 'node2', (node) => {
    node.metadata.annotations = {
      [KEYS.managed]: 'true',
      [KEYS.type]: 'vxlan',
      [KEYS.publicIp[4]]: '192.0.2.2',
      [KEYS.data[4]]: '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
    };
  });
  await eventually('the tunnel has a route', async () => (await podRoutes(host)).length === 1);
  t.true((await links()).includes('flannel.1'));
  await eventually('its link has our mark', async () => (await host.ip('link')).includes('berth overlay'));
  await first.stop();
  await host.ip('link', 'add', 'flannel.7', 'type', 'vxlan', 'id', '7', 'dstport', '4790');

  const careful = await startOverlay(t, host, client, { takeOver: false });
  await eventually('it is ready', () => careful.state().ready);
  t.deepEqual(
    (await links()).filter((name) => name.startsWith('flannel')),
    ['flannel.7'],
    'not ours, and left alone',
  );
  t.deepEqual(await podRoutes(host), []);
  t.regex(careful.state().skipped[0]!.reason, /it has the backend vxlan, this node host-gw/);
  await careful.stop();

  const bold = await startOverlay(t, host, client);
  await eventually('it is ready', () => bold.state().ready);
  t.deepEqual(
    (await links()).filter((name) => name.startsWith('flannel')),
    [],
  );
  t.is(client.peek(nodes, 'node1')!.metadata.annotations![KEYS.type], 'host-gw');
});

test('an API server that is away stops neither traffic nor mending; what was to be said is said when it is back', async (t) => {
  const { client, hosts } = await setUp(t, [1, 2]);
  const [one, two] = hosts as [OverlayHost, OverlayHost];
  for (let times = 0; times < 3; times++) client.failNext('patch', 'nodes', new Error('connect ECONNREFUSED'));
  const overlay = await startOverlay(t, one, client);
  await startOverlay(t, two, client);
  await eventually('the kernel has its routes', async () => (await podRoutes(one)).length === 1);
  t.regex(overlay.state().reason!, /annotations/);
  await one.ip('route', 'del', '10.244.2.0/24');
  await eventually('a route that went is there again', async () => (await podRoutes(one)).length === 1);
  await eventually('in the end it is said', () => overlay.state().ready);
  t.is(client.peek(nodes, 'node1')!.metadata.annotations![KEYS.type], 'host-gw');
});

test('waits for a pod CIDR, and refuses one outside of the network, in flanneld’s words', async (t) => {
  const underlay = await createOverlaySwitch(t);
  const client = createOverlayApi();
  const host = await underlay.addHost(1);
  const overlay = await startOverlay(t, host, client);
  await eventually('it waits for the node', () => overlay.state().reason === 'node "node1" is not there yet');
  client.seed(nodes, draftNode('node1', { internalIps: ['192.0.2.1'] }));
  await eventually('it waits for a CIDR', () => overlay.state().reason === 'node "node1" pod cidr not assigned');
  client.edit(nodes, 'node1', (node) => {
    node.spec.podCIDR = '10.9.1.0/24';
  });
  await eventually('it says what is wrong', () =>
    /subnet "10\.244\.0\.0\/16" specified in the flannel net config doesn't contain "10\.9\.1\.0\/24" PodCIDR/.test(
      overlay.state().reason!,
    ),
  );
  t.false(overlay.state().ready);
  client.edit(nodes, 'node1', (node) => {
    node.spec.podCIDR = '10.244.1.0/24';
  });
  await eventually('it is ready', () => overlay.state().ready);
});

test('R17: masquerade and forward rules come, take flanneld’s place, and go; the host is as it was', async (t) => {
  const { client, hosts } = await setUp(t, [1, 2]);
  const [host] = hosts as [OverlayHost];
  // It comes by itself, a little after the link.
  await eventually('the bridge has its own address', async () =>
    (await host.ip('-6', 'address', 'show', 'dev', 'cni0')).includes('fe80:'),
  );
  const before = await snapshotHost({ netns: host.path });
  const iptables = (...args: string[]) => host.run('iptables', ['-w', ...args]);
  await iptables('-t', 'nat', '-N', 'FLANNEL-POSTRTG');
  await iptables(
    '-t',
    'nat',
    '-A',
    'POSTROUTING',
    '-m',
    'comment',
    '--comment',
    'flanneld masq',
    '-j',
    'FLANNEL-POSTRTG',
  );
  const overlay = await startOverlay(t, host, client, {
    backend: { Type: 'vxlan' },
    masquerade: true,
    forwardRules: true,
    ipMasq: true,
    blackholeRoute: true,
  });
  await eventually('the rules are there', async () =>
    (await host.run('iptables-save', [])).includes('-A FLANNEL-FWD -d'),
  );
  const saved = await host.run('iptables-save', []);
  t.false(saved.includes('FLANNEL-POSTRTG'), 'flanneld’s masquerade is gone');
  const table = await host.run('nft', ['list', 'table', 'ip', 'flannel-ipv4']);
  t.regex(
    table,
    /ip saddr 10\.244\.0\.0\/16 ip daddr != 224\.0\.0\.0\/4 counter packets \d+ bytes \d+ masquerade fully-random/,
  );
  t.regex(await host.ip('route'), /blackhole 10\.244\.1\.0\/24 proto \S+ metric 4278198272/);
  await host.run('nft', ['flush', 'chain', 'ip', 'flannel-ipv4', 'postrtg']);
  await eventually('flushed rules come back', async () =>
    (await host.run('nft', ['list', 'table', 'ip', 'flannel-ipv4'])).includes('masquerade'),
  );
  await overlay.stop();
  const deps = { log: silentLogger, clock: systemClock, run, hostNetns: host.path };
  for (let times = 0; times < 2; times++) await removeOverlay({ subnetFile: overlay.subnetFile, ownOnly: false }, deps);
  const after = await snapshotHost({ netns: host.path });
  const differences = diffSnapshots(before, after).filter((line) => !/FLANNEL/.test(line));
  // Tables that the iptables program makes stay until `restore` of the host's state, or the reboot.
  t.deepEqual(
    differences.filter((line) => !/table|chain|type |^[^ ]+: [-+] ?(\*|:|COMMIT|\})/.test(line)),
    [],
  );
  t.false((await host.run('nft', ['list', 'ruleset'])).includes('flannel'));
});

test('flannel interop: a node that flanneld made by hand (annotations, flannel.1) and ours are one network', async (t) => {
  const { client, hosts } = await setUp(t, [1, 2]);
  const [ours, theirs] = hosts as [OverlayHost, OverlayHost];
  const mac = '02:f1:a2:00:00:02';
  client.edit(nodes, 'node2', (node) => {
    node.metadata.annotations = {
      'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
      'flannel.alpha.coreos.com/backend-type': 'vxlan',
      'flannel.alpha.coreos.com/backend-data': `{"VNI":1,"VtepMAC":"${mac}"}`,
      'flannel.alpha.coreos.com/public-ip': theirs.address,
    };
  });
  const overlay = await startOverlay(t, ours, client, { backend: { Type: 'vxlan' } });
  await eventually('ours is ready', () => overlay.state().ready && overlay.state().skipped.length === 0);
  const said = client.peek(nodes, 'node1')!.metadata.annotations!;
  // What flanneld does with our annotations, in ip(8)'s words.
  const { VNI, VtepMAC } = JSON.parse(said['flannel.alpha.coreos.com/backend-data']!);
  const address = said['flannel.alpha.coreos.com/public-ip']!;
  const device = ['type', 'vxlan', 'id', String(VNI), 'local', theirs.address, 'dev', 'eth0', 'dstport', '8472'];
  await theirs.ip('link', 'add', `flannel.${VNI}`, 'address', mac, 'mtu', '1450', ...device, 'nolearning');
  await theirs.ip('addr', 'add', '10.244.2.0/32', 'dev', 'flannel.1');
  await theirs.ip('link', 'set', 'flannel.1', 'up');
  await theirs.ip('neigh', 'replace', '10.244.1.0', 'lladdr', VtepMAC, 'dev', 'flannel.1', 'nud', 'permanent');
  await theirs.run('bridge', ['fdb', 'append', VtepMAC, 'dev', 'flannel.1', 'dst', address, 'self', 'permanent']);
  await theirs.ip('route', 'add', '10.244.1.0/24', 'via', '10.244.1.0', 'dev', 'flannel.1', 'onlink');
  t.true(await doesReach(ours.pod, '10.244.2.2'));
  t.true(await doesReach(theirs.pod, '10.244.1.2', 1450), 'packets as large as FLANNEL_MTU');
  t.true(await doesReach(ours, '10.244.2.2'), 'the node itself');

  // Now the host changes sides: our overlay takes what flanneld made, and tells the others the same MAC.
  await startOverlay(t, theirs, client, { backend: { Type: 'vxlan' } });
  await eventually('it says the MAC that it has', () =>
    client.peek(nodes, 'node2')!.metadata.annotations!['flannel.alpha.coreos.com/backend-data']!.includes(mac),
  );
  await eventually('routes are ours', async () => (await podRoutes(theirs)).length === 1);
  t.true(await doesReach(theirs.pod, '10.244.1.2'));
  t.true(await doesReach(ours.pod, '10.244.2.2'));
});

test('a Node object that goes and comes back is told again how its pods are reached', async (t) => {
  const { client, hosts } = await setUp(t, [1]);
  const [host] = hosts as [OverlayHost];
  const overlay = await startOverlay(t, host, client);
  await eventually('it is ready', () => overlay.state().ready);
  await client.delete(nodes, { name: 'node1' });
  await eventually('it waits', () => !overlay.state().ready);
  seed(client, host);
  await eventually('it is said', () => client.peek(nodes, 'node1')?.metadata.annotations?.[KEYS.type] === 'host-gw');
  await eventually('it is ready again', () => overlay.state().ready);
  t.is(client.peek(nodes, 'node1')!.metadata.annotations![KEYS.publicIp[4]], host.address);
});
