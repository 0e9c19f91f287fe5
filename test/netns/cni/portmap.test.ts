/** Host ports by real traffic: both backends of ours and the reference plugin, beside each other. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { cniPlugins, debianProgramPath } from '../../../cli/testing/debian-program.ts';
import { createPortmap } from '../../../cni/plugins/portmap.ts';
import { createIptablesBackend } from '../../../cni/portmap/iptables.ts';
import { createNftablesBackend } from '../../../cni/portmap/nftables.ts';
import { openPortmap, portmapProgram } from '../../../cni/programs/portmap.ts';
import type { CniError } from '../../../cni/types.ts';
import { parseNetConf } from '../../../cni/wire/net-conf.ts';
import { findProgram, hasProgram, run } from '../../../src/linux/exec.ts';
import { readSysctl } from '../../../src/linux/sysctl.ts';
import { createConntrack } from '../../../src/netfilter/ctnetlink.ts';
import type { Run } from '../../../src/netfilter/iptables.ts';
import { openNftSocket } from '../../../src/netfilter/nfnetlink/socket.ts';
import { findLockHolders } from '../../../src/netfilter/xtables-lock.ts';
import { type CniCaller, callPrograms } from '../../support/cni-calls.ts';
import { eventually } from '../../support/eventually.ts';
import { addPorts, type HostPortMapping, NODE_ADDRESS, ourPortmap, portmapConf } from '../../support/host-ports.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';
import { createWorld, type World } from '../../support/proxy-world.ts';

const reference = debianProgramPath(CHECKOUT, cniPlugins);
const hasReference = existsSync(reference);
const both = hasReference ? test.serial : test.serial.skip;

const tables = async (node: TestNetns) => {
  const saved = await node.run('iptables-save', ['-t', 'nat']);
  return [saved.split('\n').filter((line) => !line.startsWith('#')), await node.run('nft', ['list', 'tables'])];
};

const MAPPINGS: readonly HostPortMapping[] = [
  { hostPort: 9090, containerPort: 8080, protocol: 'tcp' },
  { hostPort: 9053, containerPort: 5353, protocol: 'udp' },
  { hostPort: 9091, containerPort: 8080, protocol: 'tcp', hostIP: '192.168.60.1' },
];

async function traffic(t: ExecutionContext, world: World): Promise<void> {
  const tcp = (peer: World['client'], host: string, port: number) => peer.ask({ protocol: 'tcp', host, port });
  t.is(await tcp(world.client, NODE_ADDRESS, 9090), 'pod1 192.168.50.9', 'from outside, with the client’s address');
  t.is(await world.client.ask({ protocol: 'udp', host: NODE_ADDRESS, port: 9053 }), 'pod1 192.168.50.9');
  t.is(await tcp(world.client, '192.168.60.1', 9091), 'pod1 192.168.50.9');
  t.is(await tcp(world.client, NODE_ADDRESS, 9091), 'ECONNREFUSED', 'a port of another address');
  t.regex(await tcp(world.host, '127.0.0.1', 9090), /^pod1 10\.244\.0\.1$/, 'the node’s own localhost');
  t.regex(await tcp(world.host, NODE_ADDRESS, 9090), /^pod1 /);
  t.regex(await tcp(world.pods[0], NODE_ADDRESS, 9090), /^pod1 10\.244\.0\.1$/, 'the pod itself');
}

for (const [name, backend] of [
  ['ours, iptables', 'iptables'],
  ['ours, nftables', 'nftables'],
  ['reference', undefined],
] as const) {
  const story = name !== 'reference' || hasReference ? test.serial : test.serial.skip;
  story(`${name}: ports of the node lead to the pod; CHECK agrees; DEL leaves nothing, twice`, async (t) => {
    const world = await createWorld(t);
    const call = name === 'reference' ? callPrograms(reference, world.node.path) : ourPortmap(world.node);
    const before = await tables(world.node);
    const conf = portmapConf('10.244.0.11/24', MAPPINGS, backend && { backend });
    const netns = world.podPaths[0]!;
    // A flow from before the mapping: it would go on to nowhere.
    t.is(await world.client.ask({ protocol: 'udp', host: NODE_ADDRESS, port: 9053, localPort: 4000 }), 'ECONNREFUSED');
    const out = await addPorts(t, call, 'one', conf, netns);
    t.deepEqual(out.ips[0].address, '10.244.0.11/24', 'the result before is passed on');
    t.is(readSysctl('net/ipv4/conf/cni0/route_localnet', { netns: world.node.path }), '1');
    t.is(
      await world.client.ask({ protocol: 'udp', host: NODE_ADDRESS, port: 9053, localPort: 4000 }),
      'pod1 192.168.50.9',
    );
    await traffic(t, world);
    if (backend) {
      // A pod that comes back before its old self is gone.
      const next = portmapConf('10.244.0.12/24', [{ hostPort: 9090, containerPort: 8080 }], { backend });
      await addPorts(t, call, 'two', next, world.podPaths[1]!);
      t.is(
        await world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port: 9090 }),
        'pod2 192.168.50.9',
        'the last one',
      );
      t.false((await call({ command: 'DEL', type: 'portmap', id: 'two', conf: next })).failed);
      t.is(await world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port: 9090 }), 'pod1 192.168.50.9');
    }
    const check = () => call({ command: 'CHECK', type: 'portmap', id: 'one', netns, conf });
    // Debian's version misses the rules of IPv6 of a pod that has no such address.
    if (name !== 'reference') t.false((await check()).failed);
    if (backend === 'nftables') await world.node.run('nft', ['flush', 'chain', 'ip', 'cni_hostport', 'hostports']);
    else await world.node.run('iptables', ['-t', 'nat', '-F', 'CNI-HOSTPORT-DNAT']);
    t.true((await check()).failed, 'what is missing is missed');
    await addPorts(t, call, 'one', conf, netns);
    if (name !== 'reference') t.false((await check()).failed, 'a second ADD repairs');
    for (const _ of [1, 2])
      t.false(
        (await call({ command: 'DEL', type: 'portmap', id: 'one', conf: { ...conf, prevResult: undefined } })).failed,
      );
    t.is(await world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port: 9090 }), 'ECONNREFUSED');
    if (name !== 'reference') {
      const after = await tables(world.node);
      // iptables-nft leaves its empty table.
      t.deepEqual(
        [(after[0] as string[]).filter((line) => line.startsWith('-')), String(after[1]).includes('cni_hostport')],
        [[], false],
      );
      if (backend === 'nftables') t.deepEqual(after, before);
    }
  });
}

both('what one plugin mapped the other takes away, either way, with other containers’ ports untouched', async (t) => {
  const world = await createWorld(t);
  const sets = [ourPortmap(world.node), callPrograms(reference, world.node.path)] as const;
  const netns = world.podPaths[0]!;
  const saved = async () =>
    (await world.node.run('iptables-save', ['-t', 'nat']))
      .split('\n')
      .filter((line) => line.startsWith('-A'))
      .sort();
  const conf = portmapConf('10.244.0.11/24', MAPPINGS, { backend: 'iptables' });
  const texts: string[][] = [];
  for (const [maker, remover] of [sets, sets.toReversed()] as [CniCaller, CniCaller][]) {
    await addPorts(t, maker, 'one', conf, netns);
    texts.push(await saved());
    await addPorts(
      t,
      remover,
      'two',
      portmapConf('10.244.0.12/24', [{ hostPort: 9100, containerPort: 8080, protocol: 'tcp' }]),
      netns,
    );
    t.false((await remover({ command: 'DEL', type: 'portmap', id: 'one', conf })).failed);
    t.is(await world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port: 9090 }), 'ECONNREFUSED');
    t.is(await world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port: 9100 }), 'pod2 192.168.50.9');
    t.false((await maker({ command: 'DEL', type: 'portmap', id: 'two', conf })).failed);
    t.deepEqual(
      (await saved()).filter((line) => line.includes('CNI-DN-')),
      [],
    );
    await world.node.run('iptables', ['-t', 'nat', '-F']);
    await world.node.run('iptables', ['-t', 'nat', '-X']);
  }
  t.deepEqual(texts[0], texts[1], 'rule for rule the same');
});

/** As plugins 1.9 write it; Debian's are older. */
const REFERENCE_NFT = `table ip cni_hostport {
  comment "CNI portmap plugin"
  chain hostports { tcp dport 9090 dnat to 10.244.0.11:8080 comment "one"; }
  chain hostip_hostports { ip daddr 192.168.50.1 tcp dport 9092 dnat to 10.244.0.11:8080 comment "one"; }
  chain hostports_all { jump hostip_hostports; jump hostports; }
  chain prerouting { type nat hook prerouting priority -100; fib daddr type local jump hostports_all; }
  chain output { type nat hook output priority -100; fib daddr type local jump hostports_all; }
  chain masquerading { type nat hook postrouting priority 100; ip saddr 10.244.0.11 ip daddr 10.244.0.11 masquerade comment "one"; }
}
`
  .replaceAll(/([{;]) (?=\S)/g, '$1\n')
  .replaceAll('; }', '\n}')
  .replaceAll(/\{ (\S)/g, '{\n$1');

test.serial(
  'nftables: rules of the reference plugin work on, and go with their container; its hooks beside ours',
  async (t) => {
    const world = await createWorld(t);
    const call = ourPortmap(world.node);
    await world.node.run('nft', ['-f', '-'], { input: REFERENCE_NFT });
    const netns = world.podPaths[1]!;
    const two = portmapConf('10.244.0.12/24', [{ hostPort: 9100, containerPort: 8080, protocol: 'tcp' }], {
      backend: 'nftables',
    });
    await addPorts(t, call, 'two', two, netns);
    const ask = (port: number) => world.client.ask({ protocol: 'tcp', host: NODE_ADDRESS, port });
    t.deepEqual(
      [await ask(9090), await ask(9092), await ask(9100)],
      ['pod1 192.168.50.9', 'pod1 192.168.50.9', 'pod2 192.168.50.9'],
    );
    t.notRegex(await world.node.run('nft', ['list', 'table', 'ip', 'cni_hostport']), /chain (prerouting|output) /);
    // The reference plugin is back: it adds its hooks again, by their names and priorities.
    await world.node.run('nft', ['-f', '-'], { input: REFERENCE_NFT });
    t.is(await ask(9100), 'pod2 192.168.50.9');
    t.false((await call({ command: 'DEL', type: 'portmap', id: 'one', conf: two })).failed);
    t.deepEqual(
      [await ask(9090), await ask(9092), await ask(9100)],
      ['ECONNREFUSED', 'ECONNREFUSED', 'pod2 192.168.50.9'],
    );
    t.false((await call({ command: 'DEL', type: 'portmap', id: 'two', conf: two })).failed);
    t.is(await world.node.run('nft', ['list', 'tables']), '');
  },
);

for (const backend of ['iptables', 'nftables'])
  test.serial(
    `${backend}: many at a time, by several processes: every port once, none left; GC spares other networks`,
    async (t) => {
      const node = await createTestNetns(t, 'node');
      const plugins = [1, 2].map(() => openPortmap({ run, hostNetns: node.path }));
      t.teardown(() => plugins.map(({ close }) => close()));
      const program = portmapProgram({ run, sleep: async () => {} });
      const count = backend === 'nftables' ? 60 : 8;
      const configOf = (index: number, name = 'net') => {
        const conf = {
          cniVersion: '1.0.0',
          name,
          type: 'portmap',
          backend,
          runtimeConfig: { portMappings: [{ hostPort: 2000 + index, containerPort: 80 }] },
        };
        return program.parse(
          { cniVersion: '1.0.0', name, type: 'portmap', ipam: {}, raw: conf, runtimeConfig: conf.runtimeConfig },
          {},
        );
      };
      const requestOf = (index: number) => ({ containerId: `c${index}`, ifname: 'eth0', netns: '/x', args: {} });
      const resultOf = (index: number) => ({
        interfaces: [],
        ips: [{ address: `10.9.0.${index + 2}/24` }],
        routes: [],
      });
      const all = Array.from({ length: count }, (_, index) => index);
      const of = (index: number) => plugins[index % 2]!.plugin;
      await Promise.all(all.map((index) => of(index).add(configOf(index), requestOf(index), resultOf(index))));
      const rules = async () =>
        backend === 'nftables'
          ? (await node.run('nft', ['list', 'ruleset'])).split('\n').filter((line) => line.includes('dnat to'))
          : (await node.run('iptables-save', ['-t', 'nat'])).split('\n').filter((line) => line.includes('-j DNAT'));
      t.is((await rules()).length, count);
      await of(0).add(configOf(count, 'other'), requestOf(count), resultOf(count));
      await of(0).gc(configOf(0), [{ containerId: 'c1', ifname: 'eth0' }]);
      t.is((await rules()).length, 2, 'the valid one, and the one of the other network');
      await Promise.all(all.map((index) => of(index + 1).add(configOf(index), requestOf(index), resultOf(index))));
      await Promise.all(
        [...all, count].map((index) =>
          of(index).del(configOf(index, index === count ? 'other' : 'net'), requestOf(index)),
        ),
      );
      t.deepEqual(await rules(), []);
      // Two processes whose last containers go at the same time each see the other’s: then iptables’ shared chains stay, empty.
      t.notRegex(await node.run('nft', ['list', 'ruleset']), /CNI-DN|cni_hostport/);
    },
  );

test.serial(
  'UDP flows: those to a pod that goes end with it; those to the same port elsewhere are left alone',
  async (t) => {
    const world = await createWorld(t);
    const call = ourPortmap(world.node);
    const conf = portmapConf('10.244.0.11/24', [{ hostPort: 5353, containerPort: 5353, protocol: 'udp' }]);
    const ask = (host: string, localPort: number) =>
      world.client.ask({ protocol: 'udp', host, port: 5353, localPort, timeoutMs: 1000 });
    const endpoints = async () => {
      const found: string[] = [];
      await createConntrack({ netns: world.node.path }).deleteUdpFlows('IPv4', ({ destination, replySource }) => {
        found.push(`${destination} ${replySource}`);
        return false;
      });
      return found.toSorted();
    };
    const elsewhere = '10.244.0.12 10.244.0.12';
    // Connections are tracked as soon as anybody has rules for them.
    await addPorts(
      t,
      call,
      'two',
      portmapConf('10.244.0.12/24', [{ hostPort: 1, containerPort: 1 }]),
      world.podPaths[1]!,
    );
    t.is(await ask('10.244.0.12', 4000), 'pod2 192.168.50.9');
    t.is(await ask(NODE_ADDRESS, 4001), 'ECONNREFUSED');
    t.true((await endpoints()).includes(elsewhere));
    await addPorts(t, call, 'one', conf, world.podPaths[0]!);
    t.true((await endpoints()).includes(elsewhere), 'not for this node');
    t.is(await ask(NODE_ADDRESS, 4001), 'pod1 192.168.50.9');
    t.false((await call({ command: 'DEL', type: 'portmap', id: 'one', conf })).failed);
    t.deepEqual(await endpoints(), [elsewhere]);
    t.is(await ask(NODE_ADDRESS, 4001), 'ECONNREFUSED', 'the same flow');
  },
);

test.serial('IPv6: ports of all addresses and of one, by both backends', async (t) => {
  const world = await createWorld(t);
  const { node, outside } = world;
  await node.run('sysctl', ['-q', '-w', 'net.ipv6.conf.all.forwarding=1']);
  const pod: TestNetns = {
    ...outside,
    run: async (program, args) => (await run(program, args, { netns: world.podPaths[0]! })).stdout,
  };
  const address = (where: TestNetns, cidr: string, dev: string) =>
    where.run('ip', ['-6', 'addr', 'add', cidr, 'dev', dev, 'nodad']);
  await Promise.all([address(node, 'fd00:50::1/64', 'up0'), address(node, 'fd00:10::1/64', 'cni0')]);
  await Promise.all([address(outside, 'fd00:50::9/64', 'eth0'), address(pod, 'fd00:10::2/64', 'eth0')]);
  await pod.run('ip', ['-6', 'route', 'add', 'default', 'via', 'fd00:10::1']);
  const call = ourPortmap(node);
  const controller = new AbortController();
  t.teardown(() => controller.abort());
  run('busybox', ['nc', '-ll', '-p', '8081', '-e', 'echo', 'pod'], {
    netns: world.podPaths[0]!,
    signal: controller.signal,
    timeoutMs: 60_000,
  }).catch(() => {});
  const ask = (port: string) => outside.run('busybox', ['nc', '-w', '2', 'fd00:50::1', port]).catch(() => 'refused');
  for (const backend of ['nftables', 'iptables']) {
    const conf = {
      ...portmapConf('10.244.0.11/24', [
        { hostPort: 9090, containerPort: 8081 },
        { hostPort: 9091, containerPort: 8081, hostIP: 'fd00:50::1' },
        { hostPort: 9092, containerPort: 8081, hostIP: '192.168.50.1' },
      ]),
      backend,
    };
    conf.prevResult.ips.push({ address: 'fd00:10::2/64', gateway: 'fd00:10::1', interface: 1 });
    await addPorts(t, call, 'six', conf, world.podPaths[0]!);
    await eventually('the server in the pod', async () => (await ask('9090')).trim() === 'pod');
    t.deepEqual([(await ask('9091')).trim(), (await ask('9092')).trim()], ['pod', 'refused'], backend);
    t.false((await call({ command: 'CHECK', type: 'portmap', id: 'six', netns: world.podPaths[0]!, conf })).failed);
    t.false((await call({ command: 'DEL', type: 'portmap', id: 'six', conf })).failed);
    t.is((await ask('9090')).trim(), 'refused');
  }
});

test.serial('somebody else’s chain in the way: an error with a way out, and nothing is half done', async (t) => {
  const node = await createTestNetns(t, 'node');
  const foreign =
    'table ip cni_hostport {\n\tchain output_late {\n\t\ttype filter hook output priority 0; policy accept;\n\t}\n}\n';
  await node.run('nft', ['-f', '-'], { input: foreign });
  const before = await node.run('nft', ['list', 'ruleset']);
  const conf = portmapConf('10.244.0.11/24', [{ hostPort: 9090, containerPort: 8080 }], { backend: 'nftables' });
  const { failed, out } = await ourPortmap(node)({
    command: 'ADD',
    type: 'portmap',
    id: 'one',
    netns: node.path,
    conf,
  });
  t.deepEqual([failed, out.code], [true, 5]);
  t.regex(out.msg, /output_late/);
  t.regex(out.details, /nft delete/);
  t.is(await node.run('nft', ['list', 'ruleset']), before);
});

const hasLegacy = hasProgram('iptables-legacy') && hasProgram('flock');

(hasLegacy ? test.serial : test.serial.skip)(
  'R10: a held xtables lock: code 11 with its holder, nothing half done; then it works',
  async (t) => {
    const node = await createTestNetns(t, 'node');
    const socket = openNftSocket(node.path);
    t.teardown(() => socket.close());
    const legacy: Run = (program, args, options) => run(program.replace('tables', 'tables-legacy'), args, options);
    const portmap = createPortmap({
      iptables: createIptablesBackend({ run: legacy, socket, hostNetns: node.path, lockWaitSeconds: 1 }),
      nftables: createNftablesBackend(socket, async () => {}),
      hasIptables: () => true,
      allowLocalhost: async () => {},
      forgetUdpFlows: async () => {},
    });
    const raw = { backend: 'iptables', runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80 }] } };
    const conf = parseNetConf(JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'portmap', ...raw }));
    const config = portmapProgram({ run, sleep: async () => {} }).parse(conf, {});
    const request = { containerId: 'one', ifname: 'eth0', netns: '/x', args: {} };
    const result = { interfaces: [], ips: [{ address: '10.9.0.2/24' }], routes: [] };
    const holder = spawn(findProgram('flock'), ['/run/xtables.lock', 'sleep', '60'], {
      stdio: 'ignore',
      detached: true,
    });
    const release = () => process.kill(-holder.pid!, 'SIGKILL');
    t.teardown(() => holder.signalCode ?? release());
    await eventually('the lock is held', () => findLockHolders().length > 0);
    const busy = await t.throwsAsync(portmap.add(config, request, result));
    t.like(busy, { code: 11 });
    t.regex((busy as CniError).details!, new RegExp(`held by flock \\(pid ${holder.pid}\\)`));
    release();
    await eventually('the lock is free', () => findLockHolders().length === 0);
    t.notRegex(await node.run('iptables-legacy-save', []), /CNI-/);
    await portmap.add(config, request, result);
    await portmap.check(config, request, result);
    t.regex(await node.run('iptables-legacy-save', []), /CNI-DN-.* --to-destination 10\.9\.0\.2:80/);
    await portmap.del(config, request);
    t.notRegex(await node.run('iptables-legacy-save', []), /CNI-/);
  },
);
