import test, { type ExecutionContext } from 'ava';
import type { EndpointSlice, Service } from '../../../src/kube/types.ts';
import { ExecError } from '../../../src/linux/exec.ts';
import { eventually } from '../../support/eventually.ts';
import { serviceOf, sliceOf } from '../../support/proxy.ts';
import { createSources, createWorld, startProxy } from '../../support/proxy-world.ts';

const VIP = '10.96.0.10';
const [POD_1, POD_2] = ['10.244.0.11', '10.244.0.12'];
const NODE = '192.168.50.1';

async function setUp(
  t: ExecutionContext,
  portals: 'nftables' | 'iptables',
  services: Service[],
  slices: EndpointSlice[],
) {
  const world = await createWorld(t);
  const sources = createSources();
  sources.services.put(...services);
  sources.endpointSlices.put(...slices);
  for (const source of Object.values(sources)) source.finishListing();
  const running = startProxy(t, world.node.path, sources, { mode: 'userspace' }, (program) => {
    if (program === 'nft' && portals === 'iptables')
      throw new ExecError('not there', { program, args: [], stderr: 'Operation not supported' });
  });
  await eventually('the first sync', async () => {
    const address = running.proxy.addresses().get('metrics');
    if (!address) return false;
    const text = await (await fetch(`http://127.0.0.1:${address.port}/metrics`)).text();
    return /sync_proxy_rules_last_timestamp_seconds\{ip_family="IPv4"\} [1-9]/.test(text);
  });
  return { world, sources, running };
}

const names = (answers: string[]) => [...new Set(answers.map((answer) => answer.split(' ')[0]))].sort();
async function many(count: number, ask: () => Promise<string>): Promise<string[]> {
  const answers: string[] = [];
  for (let index = 0; index < count; index++) answers.push(await ask());
  return answers;
}

/** By nftables the table of behaviours covers it in every run. */
const ONLY_FULL = process.env.BERTH_TEST_FULL === '1' ? [] : ['nftables'];

for (const portals of ['nftables', 'iptables'] as const) {
  const story = ONLY_FULL.includes(portals) ? test.skip : test;
  story(
    `userspace by ${portals}${story === test ? '' : ' (only with --full)'}: cluster IP, node port, hairpin, refusal, affinity, source ranges, and no trace after cleanup`,
    async (t) => {
      const { world, sources, running } = await setUp(
        t,
        portals,
        [
          serviceOf('ns/web', VIP, { type: 'NodePort', ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }] }),
          serviceOf('ns/none', '10.96.0.11', {
            type: 'NodePort',
            ports: [{ port: 80, nodePort: 30081, protocol: 'TCP' }],
          }),
          serviceOf('ns/sticky', '10.96.0.12', { sessionAffinity: 'ClientIP' }),
          serviceOf('ns/lb', '10.96.0.13', {
            type: 'LoadBalancer',
            ingress: [{ ip: '198.51.100.5' }],
            loadBalancerSourceRanges: ['10.244.0.0/16'],
          }),
          serviceOf('ns/inner', '10.96.0.14', { internalTrafficPolicy: 'Local' }),
          serviceOf('ns/stream', '10.96.0.15', { ports: [{ port: 80, protocol: 'SCTP' }] }),
          serviceOf('ns/local', '10.96.0.16', {
            type: 'NodePort',
            externalTrafficPolicy: 'Local',
            ports: [{ port: 80, nodePort: 30082, protocol: 'TCP' }],
          }),
        ],
        [
          sliceOf('ns/web', [POD_1, POD_2]),
          sliceOf('ns/sticky', [POD_1, POD_2]),
          sliceOf('ns/lb', [POD_1]),
          sliceOf('ns/inner', [{ ip: POD_1, nodeName: 'node-2' }]),
          sliceOf('ns/local', [{ ip: POD_1, nodeName: 'node-2' }]),
        ],
      );
      const web = { protocol: 'tcp', host: VIP, port: 80 } as const;
      for (const peer of [world.client, world.host, world.pods[0]])
        t.deepEqual(names(await many(6, () => peer.ask(web))), ['pod1', 'pod2'], 'round robin, itself among them');
      for (const peer of [world.client, world.pods[1], world.host])
        t.deepEqual(names(await many(4, () => peer.ask({ ...web, host: NODE, port: 30080 }))), ['pod1', 'pod2']);
      t.deepEqual(names(await many(4, () => world.host.ask({ ...web, host: '127.0.0.1', port: 30080 }))), [
        'pod1',
        'pod2',
      ]);
      for (const peer of [world.client, world.host, world.pods[0]]) {
        t.is(await peer.ask({ ...web, host: '10.96.0.11' }), 'ECONNREFUSED');
        t.is(await peer.ask({ ...web, host: NODE, port: 30081 }), 'ECONNREFUSED');
      }
      t.is(names(await many(6, () => world.client.ask({ ...web, host: '10.96.0.12' }))).length, 1);
      t.is(await world.client.ask({ ...web, host: '198.51.100.5', timeoutMs: 500 }), 'TIMEOUT');
      t.deepEqual(names([await world.pods[1].ask({ ...web, host: '198.51.100.5' })]), ['pod1']);
      t.is(await world.pods[0].ask({ ...web, host: '10.96.0.14', timeoutMs: 500 }), 'TIMEOUT', 'no local endpoint');
      t.is(await world.client.ask({ ...web, host: NODE, port: 30082, timeoutMs: 500 }), 'TIMEOUT');
      t.deepEqual(
        names([await world.host.ask({ ...web, host: NODE, port: 30082 })]),
        ['pod1'],
        'the node is not the subject',
      );
      t.deepEqual(names([await world.pods[1].ask({ ...web, host: NODE, port: 30082 })]), ['pod1'], 'nor are pods');

      sources.endpointSlices.put(
        sliceOf('ns/none', [POD_2]),
        sliceOf('ns/web', [{ ip: POD_1, conditions: { ready: false } }]),
      );
      await eventually('an endpoint came', async () =>
        (await world.client.ask({ ...web, host: '10.96.0.11' })).startsWith('pod2'),
      );
      await eventually('the others went', async () => (await world.pods[1].ask(web)) === 'ECONNREFUSED');

      await running.stop();
      await running.proxy.cleanup();
      t.notRegex(await world.node.run('nft', ['list', 'ruleset']), /KUBE|kube/);
    },
  );

  test(`R8 userspace by ${portals}: a UDP client that keeps its port follows to the endpoint that is there`, async (t) => {
    const dns = { name: 'dns', port: 53, nodePort: 30053, protocol: 'UDP' as const };
    const ports = [{ name: 'dns', port: 5353, protocol: 'UDP' as const }];
    const { world, sources } = await setUp(
      t,
      portals,
      [serviceOf('ns/dns', VIP, { type: 'NodePort', ports: [dns] })],
      [],
    );
    const ways = [
      [world.pods[0], { protocol: 'udp', host: VIP, port: 53, localPort: 45001, timeoutMs: 300 }],
      [world.host, { protocol: 'udp', host: VIP, port: 53, localPort: 45003, timeoutMs: 300 }],
      [world.client, { protocol: 'udp', host: NODE, port: 30053, localPort: 45002, timeoutMs: 300 }],
    ] as const;
    for (const ip of [POD_2, POD_1]) {
      sources.endpointSlices.put(sliceOf('ns/dns', [ip], { ports }));
      const name = ip === POD_1 ? 'pod1' : 'pod2';
      for (const [peer, request] of ways)
        await eventually(`${name} answers`, async () => (await peer.ask(request)).startsWith(name));
    }
    t.pass();
  });
}
