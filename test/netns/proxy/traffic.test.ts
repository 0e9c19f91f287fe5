import test, { type ExecutionContext } from 'ava';
import type { EndpointSlice, Service } from '../../../src/kube/types.ts';
import { readSysctl } from '../../../src/linux/sysctl.ts';
import { eventually } from '../../support/eventually.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';
import { createSources, createWorld, startProxy, type World } from '../../support/proxy-world.ts';

const POD_1 = '10.244.0.11';
const POD_2 = '10.244.0.12';
const CLUSTER_IP = '10.96.0.10';

async function setUp(
  t: ExecutionContext,
  services: Service[],
  slices: EndpointSlice[],
  flags: Record<string, string> = {},
) {
  const world = await createWorld(t);
  const sources = createSources();
  sources.services.put(...services);
  sources.endpointSlices.put(...slices);
  for (const source of Object.values(sources)) source.finishListing();
  const running = startProxy(t, world.node.path, sources, flags);
  await eventually('the first sync', () => running.restores.length > 0 && isListed(world));
  return { world, sources, ...running };
}

async function isListed({ node }: World): Promise<boolean> {
  return (await node.run('iptables', ['-t', 'nat', '-S'])).includes('-A PREROUTING');
}

const many = (count: number, ask: () => Promise<string>) => Promise.all(Array.from({ length: count }, ask));
const names = (answers: string[]) => [...new Set(answers.map((answer) => answer.split(' ')[0]))].sort();

test('ClusterIP: both endpoints answer a pod, the node and the outside; a pod keeps its source, others do not', async (t) => {
  const { world } = await setUp(t, [serviceOf('ns/web', CLUSTER_IP)], [sliceOf('ns/web', [POD_1, POD_2])]);
  const request = { protocol: 'tcp', host: CLUSTER_IP, port: 80 } as const;
  t.deepEqual(names(await many(20, () => world.pods[0].ask(request))), ['pod1', 'pod2']);
  t.deepEqual(names(await many(20, () => world.host.ask(request))), ['pod1', 'pod2']);
  const outside = await many(20, () => world.client.ask(request));
  t.deepEqual(names(outside), ['pod1', 'pod2']);
  t.true(
    outside.every((answer) => answer.endsWith(' 10.244.0.1')),
    'masqueraded: the answer comes back through the node',
  );
  const fromPod = await many(20, () => world.pods[0].ask(request));
  t.true(fromPod.includes(`pod2 ${POD_1}`), fromPod.join());
});

test('hairpin: a pod reaches itself through its own service', async (t) => {
  const { world } = await setUp(t, [serviceOf('ns/self', CLUSTER_IP)], [sliceOf('ns/self', [POD_1])]);
  t.is(await world.pods[0].ask({ protocol: 'tcp', host: CLUSTER_IP, port: 80 }), 'pod1 10.244.0.1');
});

test('NodePort: from outside, from the node and on localhost', async (t) => {
  const ports = [{ port: 80, nodePort: 30080, protocol: 'TCP' as const }];
  const { world } = await setUp(
    t,
    [serviceOf('ns/web', CLUSTER_IP, { type: 'NodePort', ports })],
    [sliceOf('ns/web', [POD_1, POD_2])],
  );
  for (const [peer, host] of [
    [world.client, '192.168.50.1'],
    [world.host, '192.168.50.1'],
    [world.host, '10.244.0.1'],
    [world.pods[0], '192.168.50.1'],
  ] as const)
    t.deepEqual(names(await many(20, () => peer.ask({ protocol: 'tcp', host, port: 30080 }))), ['pod1', 'pod2'], host);
  await eventually(
    'route_localnet',
    () => readSysctl('net.ipv4.conf.all.route_localnet', { netns: world.node.path }) === '1',
  );
  t.deepEqual(names(await many(20, () => world.host.ask({ protocol: 'tcp', host: '127.0.0.1', port: 30080 }))), [
    'pod1',
    'pod2',
  ]);
});

test('externalTrafficPolicy Local: the client address arrives; without a local endpoint the packet is dropped', async (t) => {
  const local = (name: string, ip: string, nodePort: number) =>
    serviceOf(name, ip, {
      type: 'NodePort',
      externalTrafficPolicy: 'Local',
      ports: [{ port: 80, nodePort, protocol: 'TCP' }],
    });
  const { world } = await setUp(
    t,
    [local('ns/here', CLUSTER_IP, 30080), local('ns/away', '10.96.0.11', 30081)],
    [
      sliceOf('ns/here', [{ ip: POD_1 }, { ip: POD_2, nodeName: 'node-2' }]),
      sliceOf('ns/away', [{ ip: POD_2, nodeName: 'node-2' }]),
    ],
  );
  const host = '192.168.50.1';
  t.deepEqual(
    [...new Set(await many(10, () => world.client.ask({ protocol: 'tcp', host, port: 30080 })))],
    ['pod1 192.168.50.9'],
  );
  t.is(await world.client.ask({ protocol: 'tcp', host, port: 30081, timeoutMs: 700 }), 'TIMEOUT');
  t.is(
    await world.pods[0].ask({ protocol: 'tcp', host, port: 30081 }),
    `pod2 ${POD_1}`,
    'pods are not the policy subject',
  );
});

test('no endpoints: refused at once, on the cluster IP and the node port, and works again when one comes', async (t) => {
  const ports = [{ port: 80, nodePort: 30080, protocol: 'TCP' as const }];
  const { world, sources } = await setUp(t, [serviceOf('ns/none', CLUSTER_IP, { type: 'NodePort', ports })], []);
  const request = { protocol: 'tcp', host: CLUSTER_IP, port: 80 } as const;
  for (const peer of [world.client, world.host, world.pods[0]]) t.is(await peer.ask(request), 'ECONNREFUSED');
  t.is(await world.client.ask({ protocol: 'tcp', host: '192.168.50.1', port: 30080 }), 'ECONNREFUSED');
  sources.endpointSlices.put(sliceOf('ns/none', [POD_1]));
  await eventually('the endpoint answers', async () => (await world.pods[1].ask(request)).startsWith('pod1'));
  sources.endpointSlices.put(sliceOf('ns/none', [{ ip: POD_1, conditions: { ready: false } }]));
  await eventually('unready: refused again', async () => (await world.pods[1].ask(request)) === 'ECONNREFUSED');
});

test('UDP and TCP on one port number go to their own endpoints', async (t) => {
  const { world } = await setUp(
    t,
    [
      serviceOf('ns/dns', CLUSTER_IP, {
        type: 'NodePort',
        ports: [
          { name: 'dns', port: 53, nodePort: 30053, protocol: 'UDP' },
          { name: 'dns-tcp', port: 53, nodePort: 30053, protocol: 'TCP' },
        ],
      }),
    ],
    [
      sliceOf('ns/dns', [POD_1, POD_2], {
        ports: [
          { name: 'dns', port: 5353, protocol: 'UDP' },
          { name: 'dns-tcp', port: 8080, protocol: 'TCP' },
        ],
      }),
    ],
  );
  for (const protocol of ['udp', 'tcp'] as const) {
    t.deepEqual(names(await many(20, () => world.pods[0].ask({ protocol, host: CLUSTER_IP, port: 53 }))), [
      'pod1',
      'pod2',
    ]);
    t.deepEqual(names(await many(20, () => world.client.ask({ protocol, host: '192.168.50.1', port: 30053 }))), [
      'pod1',
      'pod2',
    ]);
  }
});

test('ClientIP affinity: one client stays with one endpoint, until it is switched off', async (t) => {
  const { world, sources } = await setUp(
    t,
    [serviceOf('ns/sticky', CLUSTER_IP, { sessionAffinity: 'ClientIP' })],
    [sliceOf('ns/sticky', [POD_1, POD_2])],
  );
  const request = { protocol: 'tcp', host: CLUSTER_IP, port: 80 } as const;
  const first = await world.client.ask(request);
  const answers = await many(15, () => world.client.ask(request));
  t.deepEqual([...new Set(answers)], [first]);
  sources.services.put(serviceOf('ns/sticky', CLUSTER_IP));
  await eventually('both answer', async () => names(await many(20, () => world.client.ask(request))).length === 2);
});

test('R8-stale-udp-conntrack: a client that keeps its source port follows to the new endpoint', async (t) => {
  const dns = { name: 'dns', port: 53, nodePort: 30053, protocol: 'UDP' as const };
  const ports = [{ name: 'dns', port: 5353, protocol: 'UDP' as const }];
  const { world, sources } = await setUp(t, [serviceOf('ns/dns', CLUSTER_IP, { type: 'NodePort', ports: [dns] })], []);
  const ways = [
    [world.pods[0], { protocol: 'udp', host: CLUSTER_IP, port: 53, localPort: 45001, timeoutMs: 300 }],
    [world.client, { protocol: 'udp', host: '192.168.50.1', port: 30053, localPort: 45002, timeoutMs: 300 }],
  ] as const;
  for (const ip of [POD_2, POD_1, POD_2]) {
    sources.endpointSlices.put(sliceOf('ns/dns', [ip], { ports }));
    const name = ip === POD_1 ? 'pod1' : 'pod2';
    for (const [peer, request] of ways)
      await eventually(`${name} answers`, async () => (await peer.ask(request)).startsWith(name));
  }
  t.pass();
});
