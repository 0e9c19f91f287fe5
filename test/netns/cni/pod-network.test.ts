/** Pods on a bridge: real namespaces, real links. A "pod" is a namespace, the host another one. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { PodNetwork } from '../../../agent/pods/ports.ts';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import type { PodSandbox } from '../../../cni/invoke/pod-sandbox.ts';
import { openRtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { readSysctl, writeSysctl } from '../../../src/linux/sysctl.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/eventually.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const never = new AbortController().signal;

async function setUp(t: ExecutionContext, podCidr: string | undefined = '10.244.1.0/24') {
  const host = await createTestNetns(t, 'host');
  const dataDir = mkdtempSync(join(tmpdir(), 'pod-network-'));
  t.teardown(() => rmSync(dataDir, { recursive: true }));
  const open = () => {
    const network = createPodNetwork(
      {
        podCidrs: () => (podCidr ? [podCidr] : []),
        clusterCidrs: ['10.244.0.0/16'],
        mtu: () => 1450,
        dataDir,
        cacheDir: dataDir,
        hostNetns: host.path,
      },
      { log: silentLogger, clock: systemClock },
    );
    t.teardown(() => network.close());
    return network;
  };
  const leases = () => readdirSync(join(dataDir, 'berth')).filter((name) => /^\d+\./.test(name));
  const hostLinks = async () => (await host.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname);
  return { host, dataDir, network: open(), reopen: open, leases, hostLinks };
}

function sandbox(pod: TestNetns, name: string): PodSandbox {
  return {
    sandboxId: `id-${name}`,
    netnsPath: pod.path,
    namespace: 'default',
    name,
    uid: `uid-${name}`,
    hostPorts: [],
  };
}

test('two pods reach each other, themselves and the node', async (t) => {
  const { host, network } = await setUp(t);
  const pods = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')] as const;
  const {
    ips: [first],
  } = await network.attach(sandbox(pods[0], 'one'), never);
  const {
    ips: [second],
  } = await network.attach(sandbox(pods[1], 'two'), never);
  t.deepEqual([first, second], ['10.244.1.2', '10.244.1.3']);
  for (const target of ['10.244.1.2', '10.244.1.3', '10.244.1.1', '127.0.0.1'])
    for (const pod of pods) await t.notThrowsAsync(pod.run('busybox', ['ping', '-c1', '-W20', target]), target);
  await t.notThrowsAsync(host.run('busybox', ['ping', '-c1', '-W20', '10.244.1.2']));
});

test('the pod and the host end look as the reference plugin leaves them', async (t) => {
  const { host, network } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  await network.attach(sandbox(pod, 'pod'), never);
  interface Shown {
    ifname: string;
    mtu: number;
    address: string;
    operstate: string;
    master?: string;
    ifalias?: string;
    addr_info: { local: string; prefixlen: number; broadcast?: string }[];
    linkinfo?: { info_slave_data?: { hairpin: boolean } };
  }
  const [eth0] = await pod.ipJson<Shown>('-4', 'addr', 'show', 'eth0');
  t.like(eth0, { mtu: 1450, operstate: 'UP', addr_info: [{ local: '10.244.1.2', prefixlen: 24 }] });
  t.is(eth0?.addr_info[0]?.broadcast, '10.244.1.255');
  t.deepEqual(
    (await pod.ipJson<{ dst: string; gateway?: string }>('route')).map(({ dst, gateway }) => [dst, gateway]),
    [
      ['default', '10.244.1.1'],
      ['10.244.1.0/24', undefined],
    ],
  );
  const [bridge] = await host.ipJson<Shown>('-4', 'addr', 'show', 'cni0');
  t.like(bridge, { mtu: 1450, addr_info: [{ local: '10.244.1.1', prefixlen: 24 }] });
  t.is(readSysctl('net.ipv6.conf.cni0.accept_ra', { netns: host.path }), '0');
  const [veth] = await host.ipJson<Shown>('-d', 'link', 'show', 'type', 'veth');
  t.regex(veth!.ifname, /^veth[0-9a-f]{8}$/);
  t.is(veth?.master, 'cni0');
  t.is(veth?.ifalias, 'berth:berth:id-pod:eth0:default/pod');
  t.true(veth?.linkinfo?.info_slave_data?.hairpin);
});

test('the bridge keeps its MAC while pods come and go', async (t) => {
  const { host, network } = await setUp(t);
  const mac = async () => (await host.ipJson<{ address: string }>('link', 'show', 'cni0'))[0]!.address;
  const [one, two] = [await createTestNetns(t, 'one'), await createTestNetns(t, 'two')];
  await network.attach(sandbox(one, 'one'), never);
  const before = await mac();
  await network.attach(sandbox(two, 'two'), never);
  await network.detach(sandbox(one, 'one'));
  t.is(await mac(), before);
});

test('detach frees link and address, twice, and without a namespace', async (t) => {
  const { network, leases, hostLinks } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  const one = sandbox(pod, 'pod');
  await network.attach(one, never);
  t.deepEqual(leases(), ['10.244.1.2']);
  await network.detach({ ...one, netnsPath: undefined });
  t.deepEqual(leases(), []);
  t.deepEqual(await hostLinks(), ['lo', 'cni0']);
  t.deepEqual(
    (await pod.ipJson<{ ifname: string }>('link')).map(({ ifname }) => ifname),
    ['lo'],
  );
  await network.detach(one);
  await network.detach({ ...one, sandboxId: 'never-seen', netnsPath: '/run/netns/gone' });
});

test('attach again takes a whole attachment as it is, and repairs half a one', async (t) => {
  const { host, network, reopen, leases } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  const one = sandbox(pod, 'pod');
  await network.attach(one, never);
  const index = async () => (await pod.ipJson<{ ifindex: number }>('link', 'show', 'eth0'))[0]!.ifindex;
  const before = await index();
  const restarted = reopen();
  t.deepEqual(restarted.ips('id-pod'), ['10.244.1.2']);
  t.deepEqual(await restarted.attach(one, never), { ips: ['10.244.1.2'] });
  t.is(await index(), before);

  // Killed after the reservation, before the link.
  const netlink = openRtnetlink(host.path);
  t.teardown(() => netlink.close());
  const veth = (await netlink.listLinks()).find((link) => link.kind === 'veth')!;
  await netlink.deleteLink(veth.index);
  t.deepEqual(await restarted.attach(one, never), { ips: ['10.244.1.3'] });
  // Killed after the link, before the address.
  await pod.ip('addr', 'flush', 'dev', 'eth0');
  t.deepEqual(await restarted.attach(one, never), { ips: ['10.244.1.4'] });
  t.deepEqual(leases(), ['10.244.1.4']);
  await t.notThrowsAsync(pod.run('busybox', ['ping', '-c1', '-W20', '10.244.1.1']));
});

test('a failing attach leaves nothing behind', async (t) => {
  const { host, network, leases, hostLinks } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  await host.ip('link', 'add', 'cni0', 'type', 'bridge');
  await host.ip('addr', 'add', '192.0.2.1/24', 'dev', 'cni0');
  await t.throwsAsync(network.attach(sandbox(pod, 'pod'), never), {
    code: 7,
    message: /"cni0" already has an IP address different from 10.244.1.1\/24: 192.0.2.1\/24/,
  });
  t.deepEqual(leases(), []);
  t.deepEqual(await hostLinks(), ['lo', 'cni0']);
  await t.throwsAsync(network.attach({ ...sandbox(pod, 'pod'), netnsPath: '/run/netns/gone' }, never), { code: 8 });
  t.deepEqual(leases(), []);
});

test('a pod’s own eth0 that somebody else made is not touched', async (t) => {
  const { network, leases } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  await pod.ip('link', 'add', 'eth0', 'type', 'bridge');
  await t.throwsAsync(network.attach(sandbox(pod, 'pod'), never), { code: 101 });
  t.is((await pod.ipJson('link', 'show', 'eth0')).length, 1);
  t.deepEqual(leases(), []);
});

test('collect releases what no live sandbox holds, links too, and spares the newest', async (t) => {
  const { network, reopen, leases, hostLinks } = await setUp(t);
  const pods = await Promise.all(['a', 'b', 'c'].map((name) => createTestNetns(t, name)));
  for (const [n, name] of ['a', 'b', 'c'].entries()) await network.attach(sandbox(pods[n]!, name), never);
  await network.collect(new Set());
  t.is(leases().length, 3, 'attached a moment ago: the list of live ones may be older');

  const restarted = reopen();
  await restarted.collect(new Set(['id-b']));
  t.deepEqual(leases(), ['10.244.1.3']);
  t.is((await hostLinks()).filter((name) => name.startsWith('veth')).length, 1);
  t.is(restarted.ips('id-a'), undefined);
});

test('not ready until the pod CIDR is known; refuses one outside the cluster', async (t) => {
  const { network } = await setUp(t, undefined as unknown as string);
  t.is(network.status().ready, true, 'default parameter');
  const unknown = createPodNetwork({ podCidrs: () => [] }, { log: silentLogger, clock: systemClock });
  t.teardown(() => unknown.close());
  t.like(unknown.status(), { ready: false, reason: 'NetworkPluginNotReady' });
  const pod = await createTestNetns(t, 'pod');
  await t.throwsAsync(unknown.attach(sandbox(pod, 'pod'), never), { message: /cni config uninitialized/ });
  const outside = createPodNetwork(
    { podCidrs: () => ['192.0.2.0/24'], clusterCidrs: ['10.244.0.0/16'] },
    { log: silentLogger, clock: systemClock },
  );
  t.teardown(() => outside.close());
  t.like(outside.status(), { ready: false });
});

test('host ports lead to the pod from outside, from the node and from itself, and go with it', async (t) => {
  const { host, network, reopen } = await setUp(t);
  const pod = await createTestNetns(t, 'pod');
  const other = await createTestNetns(t, 'other');
  writeSysctl('net.ipv4.ip_forward', '1', { netns: host.path });
  await host.ip('addr', 'add', '192.0.2.1/32', 'dev', 'lo');
  await host.ip('addr', 'add', '192.0.2.9/32', 'dev', 'lo');
  const hostPorts = [
    { hostPort: 8080, containerPort: 80, protocol: 'tcp' as const },
    { hostPort: 8081, containerPort: 80, protocol: 'tcp' as const, hostIP: '192.0.2.9' },
    { hostPort: 5353, containerPort: 53, protocol: 'udp' as const },
  ];
  const one = { ...sandbox(pod, 'pod'), hostPorts };
  const { ips } = await network.attach(one, never);
  await network.attach(sandbox(other, 'other'), never);
  const controller = new AbortController();
  t.teardown(() => controller.abort());
  const program = "net.createServer((s) => s.end('hello')).listen(80, '0.0.0.0')";
  pod.run(process.execPath, ['-e', program], { timeoutMs: 60_000, signal: controller.signal }).catch(() => {});
  const connect = (from: TestNetns, address: string, port: number) =>
    from.run('busybox', ['nc', '-w', '2', address, String(port)], { timeoutMs: 5000, input: '' }).catch(() => 'failed');
  await eventually('the server answers', async () => (await connect(host, ips[0]!, 80)) === 'hello');

  for (const from of [host, other, pod]) t.is(await connect(from, '192.0.2.1', 8080), 'hello', from.name);
  t.is(await connect(host, '127.0.0.1', 8080), 'hello');
  t.is(await connect(other, '192.0.2.9', 8081), 'hello');
  t.is(await connect(other, '192.0.2.1', 8081), 'failed');

  t.deepEqual(await reopen().attach(one, never), { ips }, 'adopted');
  await host.run('nft', ['flush', 'chain', 'ip', 'cni_hostport', 'hostports']);
  const again = await reopen().attach(one, never);
  t.is(await connect(other, '192.0.2.1', 8080), 'hello', 'repaired');
  t.not(again.ips[0], undefined);

  await network.detach(one);
  t.is(await connect(other, '192.0.2.1', 8080), 'failed');
  t.is(await host.run('nft', ['list', 'tables']), '');

  await network.attach(one, never);
  await reopen().collect(new Set(['id-other']));
  t.is(await host.run('nft', ['list', 'tables']), '');
});

test('it is what the agent asks for', (t) => {
  const network: PodNetwork = createPodNetwork(
    { podCidrs: () => [] },
    { log: silentLogger, clock: systemClock },
  ) satisfies PodNetwork & { close(): void };
  t.false(network.status().ready);
});

test('thirty pods at once: all attached, each with an address of its own, in a few ms each', async (t) => {
  const { network } = await setUp(t);
  const pods = await Promise.all(Array.from({ length: 30 }, (_, n) => createTestNetns(t, `p${n}`)));
  const startedMs = performance.now();
  const results = await Promise.all(pods.map((pod, n) => network.attach(sandbox(pod, `p${n}`), never)));
  const totalMs = performance.now() - startedMs;
  t.is(new Set(results.flatMap(({ ips }) => ips)).size, 30);
  t.log(`30 pods attached in ${totalMs.toFixed(0)} ms`);
  await t.notThrowsAsync(pods[0]!.run('busybox', ['ping', '-c1', '-W20', results[29]!.ips[0]!]));
  const detachMs = performance.now();
  await Promise.all(pods.map((pod, n) => network.detach(sandbox(pod, `p${n}`))));
  t.log(`30 pods detached in ${(performance.now() - detachMs).toFixed(0)} ms`);
});
