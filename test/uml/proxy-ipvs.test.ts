/** Mode ipvs on a kernel that has it: the whole proxy, real traffic. */
import test, { type ExecutionContext } from 'ava';
import { portmapProgram } from '../../cni/programs/portmap.ts';
import type { ServicePort } from '../../src/kube/types.ts';
import { run } from '../../src/linux/exec.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import { openIpset } from '../../src/netfilter/ipset.ts';
import { openIpvs } from '../../src/netfilter/ipvs.ts';
import { callOurs } from '../support/cni-calls.ts';
import { eventually } from '../support/eventually.ts';
import { prepareGuest, readVirtualServers } from '../support/ipvs.ts';
import type { AskRequest, NetPeer } from '../support/net-peer.ts';
import { serviceOf, sliceOf } from '../support/proxy.ts';
import { BEHAVIOUR_NODE } from '../support/proxy-behaviours.ts';
import { runBehaviours } from '../support/proxy-behaviours-run.ts';
import {
  createSources,
  createWorld,
  type RunningProxy,
  type Sources,
  startProxy,
  type World,
} from '../support/proxy-world.ts';

const POD_1 = '10.244.0.11';
const POD_2 = '10.244.0.12';
const NODE = '192.168.50.1';
const CLIENT = '192.168.50.9';
const FLAGS = { mode: 'ipvs', 'ipvs.syncPeriod': '3s', 'ipvs.tcpTimeout': '1000s', 'ipvs.strictARP': 'true' };

test.before(prepareGuest);

const ip = (number: number) => `10.96.0.${number}`;
const tcp = (nodePort?: number): ServicePort[] => [{ port: 80, nodePort, protocol: 'TCP' }] as ServicePort[];
const many = (count: number, ask: () => Promise<string>) => Promise.all(Array.from({ length: count }, ask));
const names = (answers: string[]) => [...new Set(answers.map((answer) => answer.split(' ')[0]))].sort();
const ask = (peer: NetPeer, host: string, port = 80, more: Partial<AskRequest> = {}) =>
  peer.ask({ protocol: 'tcp', host, port, ...more });

function putServices({ services, endpointSlices }: Sources): void {
  services.put(
    serviceOf('ns/web', ip(1), { type: 'NodePort', ports: tcp(30080), externalIPs: ['203.0.113.1'] }),
    serviceOf('ns/local', ip(2), { type: 'NodePort', ports: tcp(30081), externalTrafficPolicy: 'Local' }),
    serviceOf('ns/none', ip(3), { type: 'NodePort', ports: tcp(30082) }),
    serviceOf('ns/sticky', ip(4), { sessionAffinity: 'ClientIP' }),
    serviceOf('ns/dns', ip(5), { ports: [{ port: 53, protocol: 'UDP' }] as ServicePort[] }),
    ...[`${CLIENT}/32`, '198.51.100.0/24'].map((range, index) =>
      serviceOf(`ns/lb${index}`, ip(6 + index), {
        type: 'LoadBalancer',
        ports: tcp(),
        ingress: [{ ip: `203.0.113.${6 + index}`, ipMode: 'VIP' }],
        loadBalancerSourceRanges: [range],
      }),
    ),
  );
  endpointSlices.put(
    ...['web', 'sticky', 'lb0', 'lb1'].map((name) => sliceOf(`ns/${name}`, [POD_1, POD_2])),
    sliceOf('ns/local', [POD_1, { ip: POD_2, nodeName: 'node-2' }]),
    sliceOf('ns/dns', [POD_1, POD_2], { ports: [{ name: '', port: 5353, protocol: 'UDP' }] }),
  );
}

function start(t: ExecutionContext, world: World, sources: Sources, flags: Record<string, string> = FLAGS) {
  return startProxy(t, world.node.path, sources, flags, undefined, ['IPv4']);
}

const isServed =
  (world: World, address = ip(1)) =>
  async () =>
    (await world.node.ip('addr', 'show')).includes(`${address}/32`);

/** What the table of behaviours does not ask. */
async function traffic(t: ExecutionContext, { client, host }: World): Promise<void> {
  t.deepEqual(names(await many(4, () => ask(client, ip(1)))), ['pod1', 'pod2']);
  t.true((await ask(client, '203.0.113.6')).startsWith('pod'), 'a source range that has the client');
  t.is(await ask(client, '203.0.113.7', 80, { timeoutMs: 700 }), 'TIMEOUT', 'one that has not');
  t.is(await ask(host, '203.0.113.7', 80, { timeoutMs: 700 }), 'TIMEOUT', 'nor the node');
  // What listens on the node is not to be had through Services' addresses.
  await host.serve({ name: 'node', tcp: 7777 });
  t.is(await ask(client, NODE, 7777), `node ${CLIENT}`);
  t.is(await ask(client, ip(1), 7777), 'ECONNREFUSED');
}

test.serial(
  'the table of behaviours; what others change is repaired; other modes take over and give back',
  async (t) => {
    const world = await createWorld(t);
    const { node } = world;
    // Refusals are many here, and all for the same few clients.
    writeSysctl('net.ipv4.icmp_ratelimit', '0', { netns: node.path });
    const sources = createSources();
    sources.nodes.put(BEHAVIOUR_NODE);
    const ipvs = await openIpvs(node.path);
    const ipset = openIpset(node.path);
    t.teardown(() => ipvs.close());
    t.teardown(() => ipset.close());
    const foreign = { protocol: 'TCP', address: '198.51.100.200', port: 80 } as const;
    await ipvs.addServer({ ...foreign, scheduler: 'wlc', flags: 0, timeoutSeconds: 0 });

    let first: RunningProxy | undefined;
    await runBehaviours(t, 'ipvs', world, {
      put(services, slices) {
        sources.services.put(...services);
        sources.endpointSlices.put(...slices);
      },
      remove(services) {
        for (const service of services) sources.services.remove(service);
      },
      async synced() {
        // Later changes are waited for by what is asked.
        if (first) return;
        for (const source of Object.values(sources)) source.finishListing();
        first = start(t, world, sources);
        await eventually('the first sync', async () => (await node.ip('link', 'show')).includes('kube-ipvs0'));
      },
    });
    putServices(sources);
    await eventually('the sync', isServed(world, '203.0.113.7'));
    const servers = await readVirtualServers(node.path);
    const both = [`${POD_1}:8080 1`, `${POD_2}:8080 1`];
    t.like(servers, {
      'TCP/10.96.0.1:80 rr': both,
      'TCP/192.168.50.1:30080 rr': both,
      'TCP/10.244.0.1:30080 rr': both,
      'TCP/203.0.113.1:80 rr': both,
      'TCP/192.168.50.1:30081 rr': [`${POD_1}:8080 1`],
      'TCP/10.96.0.3:80 rr': [],
      'TCP/10.96.0.4:80 rr persistent 10800': both,
      'UDP/10.96.0.5:53 rr': [`${POD_1}:5353 1`, `${POD_2}:5353 1`],
      'TCP/198.51.100.200:80 wlc': [],
    });
    t.false(Object.keys(servers).some((key) => key.includes('127.0.0.1')));
    for (const [key, value] of [
      ['vs.conntrack', '1'],
      ['vs.expire_nodest_conn', '1'],
      ['conf.all.arp_ignore', '1'],
    ])
      t.is(readSysctl(`net.ipv4.${key}`, { netns: node.path }), value, key);
    await traffic(t, world);

    // An endpoint that leaves gets no new connections, and stays while it has some (those above, in TIME_WAIT).
    const weights = async () => (await readVirtualServers(node.path))['TCP/10.96.0.1:80 rr'];
    sources.endpointSlices.put(sliceOf('ns/web', [POD_1]));
    await eventually('weight 0', async () => String(await weights()) === `${POD_1}:8080 1,${POD_2}:8080 0`);
    t.deepEqual(names(await many(4, () => ask(world.client, ip(1)))), ['pod1']);
    // R8: a client that keeps its source port follows to the endpoint that is left.
    const dns = { protocol: 'udp', host: ip(5), port: 53, localPort: 45_001, timeoutMs: 500 } as const;
    await eventually('a flow', async () => (await world.pods[0].ask(dns)).startsWith('pod'));
    sources.endpointSlices.put(sliceOf('ns/dns', [POD_1], { ports: [{ name: '', port: 5353, protocol: 'UDP' }] }));
    await eventually(
      'UDP goes at once',
      async () => String((await readVirtualServers(node.path))['UDP/10.96.0.5:53 rr']) === `${POD_1}:5353 1`,
    );
    const resolves = (name: string) => async () => (await world.pods[0].ask(dns)).startsWith(name);
    await eventually('R8: pod1 answers', resolves('pod1'));
    sources.endpointSlices.put(sliceOf('ns/dns', [POD_2], { ports: [{ name: '', port: 5353, protocol: 'UDP' }] }));
    await eventually('R8: pod2 answers', resolves('pod2'));
    sources.endpointSlices.put(sliceOf('ns/web', [POD_1, POD_2]));
    await eventually('weight 1 again', async () => String(await weights()) === both.join());

    // A restart with unchanged state writes nothing.
    await first?.stop();
    const second = start(t, world, sources);
    await new Promise((resolve) => setTimeout(resolve, 3500));
    t.is(second.restores.length, 1, 'the try whether the mode can be run, and nothing else');

    // Somebody deletes some of everything.
    const cluster = { name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port' } as const;
    await ipvs.deleteServer({ protocol: 'TCP', address: ip(1), port: 80 });
    await ipvs.deleteRealServer({ protocol: 'TCP', address: ip(4), port: 80 }, { address: POD_2, port: 8080 });
    await node.ip('addr', 'del', `${ip(4)}/32`, 'dev', 'kube-ipvs0');
    await ipset.delete(cluster, [`${ip(1)},tcp:80`]);
    await node.run('iptables', ['-t', 'nat', '-F', 'KUBE-SERVICES']);
    await eventually('all is back', async () => String(await weights()) === both.join());
    await eventually('the address is back', isServed(world, ip(4)));
    t.deepEqual((await readVirtualServers(node.path))['TCP/10.96.0.4:80 rr persistent 10800'], both);
    t.true((await ipset.elements(cluster)).includes(`${ip(1)},tcp:80`));
    t.regex(await node.run('iptables', ['-t', 'nat', '-S', 'KUBE-SERVICES']), /KUBE-NODE-PORT/);
    // A new address of the node takes NodePorts too.
    await node.ip('addr', 'add', '192.168.51.1/24', 'dev', 'up0');
    await eventually(
      'the node port at the new address',
      async () => 'TCP/192.168.51.1:30080 rr' in (await readVirtualServers(node.path)),
    );
    await second.stop();

    if (process.env['BERTH_TEST_FULL'] === '1') await switchModes(t, world, sources);
    else t.log('switching modes: only with --full');

    await second.proxy.cleanup();
    await second.proxy.cleanup();
    t.false((await node.ip('link', 'show')).includes('kube-ipvs0'));
    t.deepEqual(await ipset.headers(), []);
    t.notRegex(await node.run('iptables-save', []), /KUBE-/);
    t.deepEqual(Object.keys(await readVirtualServers(node.path)), ['TCP/198.51.100.200:80 wlc']);
  },
);

const full = process.env['BERTH_TEST_FULL'] === '1' ? test.serial : test.serial.skip;

full(
  'CVE-2019-9946: with the proxy in mode ipvs, a host port takes nothing of a Service’s, whichever was first (only with --full)',
  async (t) => {
    t.timeout(120_000);
    const world = await createWorld(t);
    const deps = { run, sleep: async () => {}, hostNetns: world.node.path };
    const call = callOurs(new Map([['portmap', portmapProgram(deps)]]));
    // As the built-in network has it where there is kube-ipvs0; this guest's kernel has no nat of nf_tables.
    const conf = {
      backend: 'iptables',
      runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 8080 }] },
      prevResult: { cniVersion: '1.0.0', interfaces: [], ips: [{ address: `${POD_2}/24` }] },
    };
    const each = async (command: string) => {
      const { failed, out } = await call({ command, type: 'portmap', id: 'two', netns: world.podPaths[1]!, conf });
      t.false(failed, JSON.stringify(out));
    };
    const look = async (when: string) => {
      const answers = {
        'ClusterIP from the node': await ask(world.host, ip(1)),
        'ClusterIP from a pod': await ask(world.pods[1], ip(1)),
        'ClusterIP from outside': await ask(world.client, ip(1)),
        'external IP': await ask(world.client, '203.0.113.1'),
      };
      for (const [what, answer] of Object.entries(answers)) t.regex(answer, /^pod1 /, `${when}: ${what}`);
      t.regex(await ask(world.client, NODE), /^pod2 /, `${when}: the host port`);
    };
    await each('ADD');
    const sources = createSources();
    sources.nodes.put(BEHAVIOUR_NODE);
    sources.services.put(serviceOf('ns/web', ip(1), { ports: tcp(), externalIPs: ['203.0.113.1'] }));
    sources.endpointSlices.put(sliceOf('ns/web', [POD_1]));
    for (const source of Object.values(sources)) source.finishListing();
    const running = start(t, world, sources);
    await eventually('the external address is bound', isServed(world, '203.0.113.1'));
    await eventually('the service answers', async () => (await ask(world.host, ip(1))).startsWith('pod'));
    await look('host ports first');
    await each('DEL');
    await each('ADD');
    await look('Service first');
    await running.stop();
    await running.proxy.cleanup();
  },
);

/** Another mode takes over: nothing of this one is left, but for what was never its own. Then back. */
async function switchModes(t: ExecutionContext, world: World, sources: Sources): Promise<void> {
  const { node } = world;
  const ipset = openIpset(node.path);
  t.teardown(() => ipset.close());
  const third = start(t, world, sources, { mode: 'iptables' });
  const hasLink = async () => (await node.ip('link', 'show')).includes('kube-ipvs0');
  await eventually('kube-ipvs0 is gone', async () => !(await hasLink()));
  await eventually('the sets are gone', async () => (await ipset.headers()).length === 0);
  t.deepEqual(Object.keys(await readVirtualServers(node.path)), ['TCP/198.51.100.200:80 wlc']);
  t.deepEqual(names(await many(8, () => ask(world.client, ip(1)))), ['pod1', 'pod2']);
  t.notRegex(await node.run('iptables-save', []), /ipvs|KUBE-NODE-PORT |KUBE-LOAD-BALANCER |match-set/);
  await third.stop();

  const fourth = start(t, world, sources);
  await eventually('addresses are bound again', isServed(world, '203.0.113.7'));
  await eventually(
    'chains of mode iptables are gone',
    async () =>
      !/^:KUBE-(SVC-|SEP-|EXT-|EXTERNAL-SERVICES|NODEPORTS|PROXY-CANARY)/m.test(await node.run('iptables-save', [])),
  );
  t.deepEqual(names(await many(4, () => ask(world.client, NODE, 30080))), ['pod1', 'pod2']);
  await fourth.stop();
}
