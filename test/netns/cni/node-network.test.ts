/** The node's own rules, routes and sysctls, on real namespaces: `outside ── uplink ── host ── cni0 ── pods`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import { createNodeNetwork } from '../../../cni/node/node-network.ts';
import { ExecError } from '../../../src/linux/exec.ts';
import { readSysctl, writeSysctl } from '../../../src/linux/sysctl.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/eventually.ts';
import { diffSnapshots, snapshotHost } from '../../support/host-snapshot.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const CLUSTER_CIDR = '10.244.0.0/16';
const SERVICE_CIDR = '10.96.0.0/12';
const never = new AbortController().signal;

/** A host 192.0.2.1 with an uplink to 192.0.2.2, which is its default gateway unless told otherwise. */
async function setUp(t: ExecutionContext, { defaultRoute = true } = {}) {
  const host = await createTestNetns(t, 'host');
  const outside = await createTestNetns(t, 'out');
  await host.ip('link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside.name);
  await host.ip('addr', 'add', '192.0.2.1/24', 'dev', 'uplink');
  await host.ip('link', 'set', 'uplink', 'up');
  await outside.ip('addr', 'add', '192.0.2.2/24', 'dev', 'eth0');
  await outside.ip('link', 'set', 'eth0', 'up');
  if (defaultRoute) await host.ip('route', 'add', 'default', 'via', '192.0.2.2');
  await outside.run('nft', ['-f', '-'], {
    input: `table ip count {
      chain prerouting {
        type filter hook prerouting priority -300;
        ip saddr ${CLUSTER_CIDR} counter comment "from pods"
        ip daddr { ${CLUSTER_CIDR}, ${SERVICE_CIDR} } counter comment "to the cluster"
      }
    }`,
  });
  const directory = mkdtempSync(join(tmpdir(), 'node-network-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const deps = { log: silentLogger, clock: systemClock };
  const openNode = () =>
    createNodeNetwork(
      {
        clusterCidrs: [CLUSTER_CIDR],
        serviceCidrs: [SERVICE_CIDR],
        stateFile: join(directory, 'state.json'),
        hostNetns: host.path,
      },
      deps,
    );
  const pods = createPodNetwork(
    {
      podCidrs: () => ['10.244.1.0/24'],
      clusterCidrs: [CLUSTER_CIDR],
      dataDir: directory,
      cacheDir: directory,
      hostNetns: host.path,
    },
    deps,
  );
  t.teardown(() => pods.close());
  const addPod = async (name: string) => {
    const pod = await createTestNetns(t, name);
    const sandbox = { sandboxId: name, netnsPath: pod.path, namespace: 'ns', name, uid: name, hostPorts: [] };
    const { ips } = await pods.attach(sandbox, never);
    return { ...pod, sandbox, address: ips[0]! };
  };
  return { host, outside, node: openNode(), openNode, pods, addPod };
}

/** Answers every connection with the client's address. */
async function serve(t: ExecutionContext, netns: TestNetns, port: number, on = '0.0.0.0'): Promise<void> {
  const controller = new AbortController();
  t.teardown(() => controller.abort());
  const program = `net.createServer((s) => s.end(s.remoteAddress)).listen(${port}, '${on}')`;
  netns.run(process.execPath, ['-e', program], { timeoutMs: 120_000, signal: controller.signal }).catch(() => {});
  const local = on === '::' ? '::1' : '127.0.0.1';
  await eventually(`the server in ${netns.name} answers`, async () => (await connect(netns, local, port)) === local);
}

/** What a TCP connection answers, or `refused`, `timeout`, … */
async function connect(from: TestNetns, address: string, port: number): Promise<string> {
  try {
    return (await from.run('busybox', ['nc', '-w', '2', address, String(port)], { timeoutMs: 5000, input: '' })).trim();
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    if (/refused/i.test(error.stderr)) return 'refused';
    if (/unreachable|no route/i.test(error.stderr)) return 'unreachable';
    return `failed: ${error.message}`;
  }
}

async function leaked(outside: TestNetns): Promise<number> {
  const text = await outside.run('nft', ['list', 'ruleset']);
  return [...text.matchAll(/packets (\d+)/g)].reduce((sum, [, packets]) => sum + Number(packets), 0);
}

const ping = (from: TestNetns, to: string, seconds = 2) => from.run('busybox', ['ping', '-c1', `-W${seconds}`, to]);

test('ensure, ensure again, remove: the second changes nothing, the last leaves the host as it was', async (t) => {
  const { host, node, addPod, openNode } = await setUp(t);
  writeSysctl('net.ipv4.conf.all.accept_redirects', '1', { netns: host.path });
  writeSysctl('net.bridge.bridge-nf-call-iptables', '0', { netns: host.path });
  const before = await snapshotHost({ netns: host.path });
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: host.path })), []);

  t.true((await node.ensure()).length >= 4);
  t.is(readSysctl('net.ipv4.ip_forward', { netns: host.path }), '1');
  t.is(readSysctl('net.bridge.bridge-nf-call-iptables', { netns: host.path }), '1');
  t.deepEqual(await node.ensure(), []);
  t.deepEqual(await openNode().ensure(), [], 'nor after a restart');
  await addPod('one');
  // As the proxy leaves the tables that it used.
  for (const program of ['iptables', 'ip6tables'])
    for (const action of ['-A', '-D']) await host.run(program, ['-t', 'nat', action, 'OUTPUT', '-j', 'ACCEPT']);

  await openNode().remove();
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: host.path })), []);
  await node.remove();
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: host.path })), []);
});

test('sysctls that another part sets through the node network are restored with it', async (t) => {
  const { host, node, openNode } = await setUp(t);
  t.throws(() => node.sysctls.write('net.ipv4.conf.all.route_localnet', '1'), { message: /has not been recorded yet/ });
  const before = await snapshotHost({ netns: host.path });
  await node.ensure();
  node.sysctls.write('net.ipv4.conf.all.route_localnet', '1');
  node.sysctls.write('net.ipv4.conf.all.rp_filter', '2');
  t.is(node.sysctls.read('net.ipv4.conf.all.route_localnet'), '1');
  t.is(node.sysctls.read('net.ipv4.no_such'), undefined);
  await openNode().remove();
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: host.path })), []);
});

test('a value that the admin sets meanwhile is left alone', async (t) => {
  const { host, node } = await setUp(t);
  await node.ensure();
  node.sysctls.write('net.ipv4.conf.all.rp_filter', '2');
  writeSysctl('net.ipv4.conf.all.rp_filter', '1', { netns: host.path });
  await node.remove();
  t.is(readSysctl('net.ipv4.conf.all.rp_filter', { netns: host.path }), '1');
  t.is(readSysctl('net.ipv4.ip_forward', { netns: host.path }), '0');
});

test('what somebody breaks is repaired', async (t) => {
  const { host, node } = await setUp(t);
  await node.ensure();
  await host.run('nft', ['flush', 'chain', 'inet', 'berth', 'forward']);
  t.deepEqual(await node.ensure(), ['nft table inet berth']);
  await host.run('iptables', ['-F', 'FORWARD']);
  t.deepEqual(await node.ensure(), ['iptables chain BERTH-FORWARD']);
  await host.ip('route', 'del', 'unreachable', CLUSTER_CIDR);
  t.deepEqual(await node.ensure(), [`route unreachable ${CLUSTER_CIDR}`]);
  writeSysctl('net.ipv4.ip_forward', '0', { netns: host.path });
  t.deepEqual(await node.ensure(), ['sysctl net.ipv4.ip_forward=1']);
  t.deepEqual(await node.ensure(), []);
});

test('removal spares what others have: rules in the same tables, values set since', async (t) => {
  const { host, node } = await setUp(t);
  await host.run('iptables', ['-A', 'FORWARD', '-s', '203.0.113.0/24', '-j', 'DROP']);
  await node.ensure();
  await host.run('iptables', ['-A', 'INPUT', '-s', '203.0.113.0/24', '-j', 'DROP']);
  await host.run('nft', ['add', 'table', 'inet', 'theirs']);
  await node.remove();
  const saved = await host.run('iptables-save', []);
  t.regex(saved, /-A FORWARD -s 203.0.113.0\/24 -j DROP/);
  t.regex(saved, /-A INPUT -s 203.0.113.0\/24 -j DROP/);
  t.notRegex(saved, /BERTH/);
  t.regex(await host.run('nft', ['list', 'tables']), /inet theirs/);
});

test('pods reach each other, the node and the outside, also where Docker has set FORWARD to DROP', async (t) => {
  const { host, outside, node, addPod } = await setUp(t);
  // As a distribution's dockerd leaves it.
  await host.run('iptables-restore', [], {
    input: `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A DOCKER-USER -j RETURN
COMMIT
`,
  });
  const [one, two] = [await addPod('one'), await addPod('two')];
  await t.throwsAsync(ping(one, two.address), undefined, 'the drop works, bridged frames included');
  await node.ensure();
  await t.notThrowsAsync(ping(one, two.address, 20));
  await t.notThrowsAsync(ping(two, one.address, 20));
  await t.notThrowsAsync(ping(one, '10.244.1.1', 20));
  await t.notThrowsAsync(ping(one, '192.0.2.1', 20));
  await t.notThrowsAsync(ping(host, one.address, 20));

  await serve(t, outside, 8080);
  await serve(t, two, 8080);
  t.is(await connect(one, '192.0.2.2', 8080), '192.0.2.1', 'the outside sees the node');
  t.is(await connect(one, two.address, 8080), one.address, 'a pod sees the pod');
  t.is(await leaked(outside), 0, 'nothing with a pod or service address on the uplink');
});

test('an unprogrammed service address is refused at once, from pods and from the node, and nothing leaves', async (t) => {
  const { host, outside, node, addPod } = await setUp(t);
  await node.ensure();
  const pod = await addPod('one');
  t.is(await connect(pod, '10.96.0.10', 53), 'refused');
  t.is(await connect(host, '10.96.0.10', 53), 'refused');
  t.is(await connect(host, '10.111.255.254', 443), 'refused');
  await t.throwsAsync(ping(pod, '10.96.7.7'));
  for (const from of [pod, host]) {
    t.is(await connect(from, '10.244.9.9', 80), 'unreachable', 'a node that is not known');
    await t.throwsAsync(ping(from, '10.244.200.1'));
  }
  t.is(await leaked(outside), 0);
});

test('a translated service address passes the guard, with and without a default route on the node', async (t) => {
  for (const defaultRoute of [true, false]) {
    const { host, node, addPod } = await setUp(t, { defaultRoute });
    await node.ensure();
    const [one, two] = [await addPod('one'), await addPod('two')];
    await serve(t, two, 8080);
    for (const chain of ['PREROUTING', 'OUTPUT'])
      await host.run('iptables', [
        ...['-t', 'nat', '-A', chain, '-d', '10.96.0.10', '-p', 'tcp', '--dport', '80'],
        ...['-j', 'DNAT', '--to-destination', `${two.address}:8080`],
      ]);
    t.is(await connect(one, '10.96.0.10', 80), one.address);
    t.truthy((await connect(host, '10.96.0.10', 80)).match(/^[\d.]+$/), `default route: ${defaultRoute}`);
    t.is(await connect(host, '10.96.0.11', 80), 'refused');
  }
});

test('the route for services goes when a default route comes', async (t) => {
  const { host, node } = await setUp(t, { defaultRoute: false });
  await node.ensure();
  t.regex(await host.ip('route'), /10\.96\.0\.0\/12 dev lo/);
  await host.ip('route', 'add', 'default', 'via', '192.0.2.2');
  t.deepEqual(await node.ensure(), [`no route unicast ${SERVICE_CIDR}`]);
  t.notRegex(await host.ip('route'), /10\.96\.0\.0\/12/);
});

test('a bridge that was there before stays as it was', async (t) => {
  const { host, node, addPod } = await setUp(t);
  await host.ip('link', 'add', 'cni0', 'address', '02:00:00:00:00:01', 'type', 'bridge');
  // With its first port it would get a link-local address of the kernel's, and keep it.
  writeSysctl('net.ipv6.conf.cni0.disable_ipv6', '1', { netns: host.path });
  await host.ip('link', 'set', 'cni0', 'up');
  const before = await snapshotHost({ netns: host.path });
  await node.ensure();
  await addPod('one');
  t.regex(await host.ip('addr', 'show', 'cni0'), /10\.244\.1\.1\/24/);
  await node.remove();
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: host.path })), []);
});

test('CVE-2020-10749: pods are no routers; a bridge of the admin’s with an uplink may have one behind it', async (t) => {
  const { host, node, addPod } = await setUp(t);
  const tables = () => host.run('nft', ['list', 'tables']);
  const before = await snapshotHost({ netns: host.path });
  await node.ensure();
  await addPod('one');
  t.regex(await tables(), /inet berth-bridge/);
  t.is(readSysctl('net/ipv6/conf/cni0/accept_ra', { netns: host.path }), '0');
  await host.run('nft', ['flush', 'table', 'inet', 'berth-bridge']);
  t.deepEqual(await node.ensure(), ['nft table inet berth-bridge']);
  t.deepEqual(await node.ensure(), []);
  await node.remove();
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: host.path })), []);

  await host.ip('link', 'add', 'cni0', 'type', 'bridge');
  await host.ip('link', 'add', 'wire0', 'type', 'vxlan', 'id', '9', 'dstport', '4789');
  await host.ip('link', 'set', 'wire0', 'master', 'cni0');
  await node.ensure();
  t.notRegex(await tables(), /inet berth-bridge/);
  t.is(readSysctl('net/ipv6/conf/cni0/accept_ra', { netns: host.path }), '1');
  await node.remove();
});

test('CVE-2020-8558: what listens on localhost only is not reached from pods and neighbours, although host ports on localhost work', async (t) => {
  const { host, outside, node, pods, addPod } = await setUp(t);
  await node.ensure();
  const attacking = await addPod('attacker');
  const attackers = [outside, attacking];
  await serve(t, host, 8181);
  // A host port makes the bridge route localhost; NodePorts on localhost make every link do it.
  const web = await createTestNetns(t, 'web');
  const hostPorts = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' as const }];
  const sandbox = { sandboxId: 'web', netnsPath: web.path, namespace: 'ns', name: 'web', uid: 'web', hostPorts };
  await pods.attach(sandbox, never);
  await serve(t, web, 80);
  t.is(readSysctl('net.ipv4.conf.cni0.route_localnet', { netns: host.path }), '1');
  writeSysctl('net.ipv4.conf.all.route_localnet', '1', { netns: host.path });
  const gateways = ['192.0.2.1', '10.244.1.1'];
  for (const [index, attacker] of attackers.entries()) {
    // What an attacker with CAP_NET_ADMIN (or raw sockets) sends: packets for 127.0.0.1 to the node's MAC address.
    writeSysctl('net.ipv4.conf.all.route_localnet', '1', { netns: attacker.path });
    await attacker.ip('address', 'delete', '127.0.0.1/8', 'dev', 'lo');
    await attacker.ip('route', 'add', '127.0.0.0/8', 'via', gateways[index]!);
  }
  const attack = () => Promise.all(attackers.map((attacker) => connect(attacker, '127.0.0.1', 8181)));
  await host.run('nft', ['delete', 'chain', 'inet', 'berth', 'input']);
  t.deepEqual(await attack(), ['192.0.2.2', attacking.address], 'without the guard they get through');
  await node.ensure();
  for (const answer of await attack()) t.regex(answer, /failed|timeout|^$/);
  t.is(await connect(host, '127.0.0.1', 8181), '127.0.0.1');
  t.is(await connect(host, '127.0.0.1', 8080), '10.244.1.1', 'the host port on localhost');
  await pods.detach(sandbox);
});

test('two families: services without endpoints are refused, pods leave by the node’s address, advertised routes stay, all goes back', async (t) => {
  const host = await createTestNetns(t, 'host');
  const outside = await createTestNetns(t, 'out');
  await host.ip('link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside.name);
  await host.ip('addr', 'add', 'fd00:1::1/64', 'dev', 'uplink', 'nodad');
  await outside.ip('addr', 'add', 'fd00:1::2/64', 'dev', 'eth0', 'nodad');
  for (const [netns, link] of [
    [host, 'uplink'],
    [outside, 'eth0'],
  ] as const)
    await netns.ip('link', 'set', link, 'up');
  const directory = mkdtempSync(join(tmpdir(), 'node-network-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const node = createNodeNetwork(
    {
      clusterCidrs: [CLUSTER_CIDR, 'fd00:244::/56'],
      serviceCidrs: [SERVICE_CIDR, 'fd00:96::/112'],
      stateFile: join(directory, 'state.json'),
      hostNetns: host.path,
    },
    { log: silentLogger, clock: systemClock },
  );
  const before = await snapshotHost({ netns: host.path });
  const sysctl = (key: string) => readSysctl(key, { netns: host.path });
  t.is(sysctl('net/ipv6/conf/uplink/accept_ra'), '1');

  t.true((await node.ensure()).length > 0);
  t.deepEqual(await node.ensure(), [], 'the second time there is nothing to do');
  t.is(sysctl('net/ipv6/conf/uplink/accept_ra'), '2', 'a forwarding host goes on heeding its router');
  t.is(sysctl('net.ipv6.conf.all.forwarding'), '1');
  t.is(await connect(host, 'fd00:96::5', 80), 'refused');
  t.is(await connect(host, '10.96.0.5', 80), 'refused');

  // A pod by hand: what this test is about is the node's part.
  const pod = await createTestNetns(t, 'pod');
  await host.ip('link', 'add', 'vethpod', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod.name);
  await host.ip('addr', 'add', 'fd00:244::1/64', 'dev', 'vethpod', 'nodad');
  await host.ip('link', 'set', 'vethpod', 'up');
  await pod.ip('addr', 'add', 'fd00:244::2/64', 'dev', 'eth0', 'nodad');
  await pod.ip('link', 'set', 'eth0', 'up');
  await pod.ip('route', 'add', 'default', 'via', 'fd00:244::1');
  await serve(t, outside, 8080, '::');
  t.is(await connect(pod, 'fd00:1::2', 8080), 'fd00:1::1', 'the node’s address stands for the pod’s');
  t.is(await connect(pod, 'fd00:96::5', 80), 'refused');
  t.is(await connect(pod, 'fd00:244:0:7::9', 80), 'unreachable', 'a pod that no node has');
  await host.ip('link', 'delete', 'vethpod');

  await node.remove();
  t.deepEqual(diffSnapshots(before, await snapshotHost({ netns: host.path })), []);
});
