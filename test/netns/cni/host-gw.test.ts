/** Three nodes on one switch: pods reach pods of other nodes, unmasked, through plain routes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createPodNetwork } from '../../../cni/invoke/pod-network.ts';
import { createNodeNetwork } from '../../../cni/node/node-network.ts';
import { createHostGateway, type NodeInformer } from '../../../cni/overlay/host-gw.ts';
import type { Node } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

/** Nodes as an informer would show them, changed by the test. */
function createNodes() {
  const nodes = new Map<string, Node>();
  const handlers = new Set<Parameters<NodeInformer['subscribe']>[0]>();
  const informer: NodeInformer = {
    synced: async () => {},
    list: () => [...nodes.values()],
    subscribe(one) {
      handlers.add(one);
      for (const node of nodes.values()) one.added(node);
      return () => handlers.delete(one);
    },
  };
  return {
    informer,
    set(name: string, podCIDR: string, address: string) {
      const old = nodes.get(name);
      const node = {
        metadata: { name, uid: name, resourceVersion: '1', creationTimestamp: '' },
        spec: { podCIDR },
        status: { addresses: [{ type: 'InternalIP', address }] },
      } as Node;
      nodes.set(name, node);
      for (const handler of handlers) old ? handler.updated(old, node) : handler.added(node);
    },
    delete(name: string) {
      const node = nodes.get(name)!;
      nodes.delete(name);
      for (const handler of handlers) handler.deleted(node);
    },
  };
}

async function createNode(t: ExecutionContext, switchHost: TestNetns, number: number, nodes: NodeInformer) {
  const name = `node${number}`;
  const host = await createTestNetns(t, name);
  await host.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', name, 'netns', switchHost.name);
  await switchHost.ip('link', 'set', name, 'master', 'switch', 'up');
  await host.ip('addr', 'add', `192.0.2.${number}/24`, 'dev', 'eth0');
  await host.ip('link', 'set', 'eth0', 'up');
  const directory = mkdtempSync(join(tmpdir(), 'host-gw-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const deps = { log: silentLogger, clock: systemClock };
  const cidrs = { clusterCidrs: ['10.244.0.0/16'], serviceCidrs: ['10.96.0.0/12'] };
  await createNodeNetwork({ ...cidrs, stateFile: join(directory, 'state'), hostNetns: host.path }, deps).ensure();
  const podCidr = `10.244.${number}.0/24`;
  const pods = createPodNetwork({ podCidr: () => podCidr, dataDir: directory, hostNetns: host.path }, deps);
  t.teardown(() => pods.close());
  const pod = await createTestNetns(t, `pod${number}`);
  const sandbox = { sandboxId: 'pod', netnsPath: pod.path, namespace: 'ns', name: 'pod', uid: 'pod', hostPorts: [] };
  await pods.attach(sandbox, new AbortController().signal);
  const gateway = createHostGateway({ nodeName: name, hostNetns: host.path, resyncMs: 300 }, { nodes, ...deps });
  return { name, host, pod, podCidr, address: `192.0.2.${number}`, gateway };
}

async function setUp(t: ExecutionContext) {
  const switchHost = await createTestNetns(t, 'switch');
  await switchHost.ip('link', 'add', 'switch', 'type', 'bridge');
  await switchHost.ip('link', 'set', 'switch', 'up');
  const nodes = createNodes();
  const members = [];
  for (const number of [1, 2, 3]) {
    const member = await createNode(t, switchHost, number, nodes.informer);
    nodes.set(member.name, member.podCidr, member.address);
    members.push(member);
  }
  return { nodes, members };
}

const ping = (from: TestNetns, to: string) => from.run('busybox', ['ping', '-c1', '-W2', to]);
const podRoutes = async (host: TestNetns) =>
  (await host.ipJson<{ dst: string; gateway?: string; protocol: string }>('-N', 'route'))
    .filter(({ protocol }) => protocol === '191')
    .map(({ dst, gateway }) => `${dst} via ${gateway}`);

test('pods of all nodes reach each other with their own addresses', async (t) => {
  const { members } = await setUp(t);
  await t.throwsAsync(ping(members[0]!.pod, '10.244.2.2'), undefined, 'without the routes');
  for (const { gateway } of members) await gateway.sync();
  for (const from of members)
    for (const number of [1, 2, 3]) {
      await t.notThrowsAsync(ping(from.pod, `10.244.${number}.2`));
      await t.notThrowsAsync(ping(from.host, `10.244.${number}.2`));
    }
  t.deepEqual(await podRoutes(members[0]!.host), ['10.244.2.0/24 via 192.0.2.2', '10.244.3.0/24 via 192.0.2.3']);
  t.deepEqual(await members[0]!.gateway.sync(), { changed: 0 });

  const counted = await members[1]!.host.run('nft', ['list', 'chain', 'inet', 'berth', 'postrouting']);
  t.regex(counted, /counter packets 0 /, 'nothing between pods was masqueraded');

  await members[0]!.gateway.remove();
  t.deepEqual(await podRoutes(members[0]!.host), []);
});

test('follows nodes that come, move and go, and repairs what somebody deletes', async (t) => {
  const { nodes, members } = await setUp(t);
  const [first] = members;
  const controller = new AbortController();
  const running = first!.gateway.run(controller.signal);
  t.teardown(() => controller.abort());
  const eventually = async (want: string[]) => {
    for (let attempt = 0; attempt < 60; attempt++) {
      if (JSON.stringify(await podRoutes(first!.host)) === JSON.stringify(want)) break;
      await systemClock.sleep(50);
    }
    t.deepEqual(await podRoutes(first!.host), want);
  };
  await eventually(['10.244.2.0/24 via 192.0.2.2', '10.244.3.0/24 via 192.0.2.3']);
  nodes.delete('node3');
  await eventually(['10.244.2.0/24 via 192.0.2.2']);
  nodes.set('node2', '10.244.2.0/24', '192.0.2.99');
  await eventually(['10.244.2.0/24 via 192.0.2.99']);
  nodes.set('node9', '10.244.9.0/24', '198.51.100.1');
  nodes.set('node2', '10.244.7.0/24', '192.0.2.2');
  await eventually(['10.244.7.0/24 via 192.0.2.2']);
  await first!.host.ip('route', 'del', '10.244.7.0/24');
  await eventually(['10.244.7.0/24 via 192.0.2.2']);
  controller.abort();
  await running;
  t.is((await podRoutes(first!.host)).length, 1, 'routes stay when the program ends');
});

test('a foreign route to the same pods is not touched, and named', async (t) => {
  const { members } = await setUp(t);
  const [first] = members;
  await first!.host.ip('route', 'add', '10.244.2.0/24', 'via', '192.0.2.77');
  await t.throwsAsync(first!.gateway.sync(), { message: /another program has a route to these pods/ });
  t.deepEqual(await podRoutes(first!.host), ['10.244.3.0/24 via 192.0.2.3'], 'the others are written all the same');
  t.regex(await first!.host.ip('route'), /10\.244\.2\.0\/24 via 192\.0\.2\.77/);
});
