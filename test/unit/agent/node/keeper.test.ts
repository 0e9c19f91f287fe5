import test from 'ava';
import { createNodeKeeper, type NodeKeeperOptions } from '../../../../agent/node/node-keeper.ts';
import { createRuntimeMonitor } from '../../../../agent/node/runtime-monitor.ts';
import type { NetworkStatus } from '../../../../agent/pods/ports.ts';
import { nodes } from '../../../../src/kube/resources.ts';
import type { Node } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { createFakeKubeClient } from '../../../fakes/kube-client.ts';

const resources = { cpuMillis: 2000, memoryBytes: 1024, ephemeralStorageBytes: 1, pods: 110, hugepages: new Map() };
const options: NodeKeeperOptions = {
  identity: {
    name: 'n1',
    hostname: 'n1',
    ips: ['10.0.0.4'],
    architecture: 'amd64',
    labels: {},
    registerWithTaints: [],
  },
  facts: {
    serverPort: 10250,
    nodeInfo: { bootID: 'boot-2' } as never,
    handlerFeatures: { recursiveReadOnlyMounts: true },
  },
  updateIntervalMs: 10_000,
  reportIntervalMs: 300_000,
  registerNode: true,
  warnings: [{ reason: 'CgroupV1', message: 'old' }],
};

function scene(seed?: Partial<Node['status']> & object) {
  const clock = createFakeClock();
  const client = createFakeKubeClient(clock);
  if (seed) client.seed(nodes, { metadata: { name: 'n1' }, spec: {}, status: seed } as never);
  const events: string[] = [];
  const shutdown = { problem: undefined as string | undefined };
  const more: { extended?: Map<string, number>; memoryBytes?: number } = {};
  const health = {
    runtime: undefined as string | undefined,
    network: { ready: true } as NetworkStatus,
    relistMs: 0 as number | undefined,
    forgotDevices: false,
  };
  const keeper = createNodeKeeper(options, {
    client,
    clock,
    log: silentLogger,
    events: { event: (_, type, reason, message) => events.push(`${type} ${reason} ${message}`), flush: async () => {} },
    runtime: { problem: () => health.runtime, version: () => '20.10' },
    network: () => health.network,
    shutdownProblem: () => shutdown.problem,
    resources: () => ({ capacity: { ...resources, ...more }, allocatable: { ...resources, ...more } }),
    lastRelistMonotonicMs: () => health.relistMs,
    images: async () => [{ names: ['a'], sizeBytes: 1 }],
    forgotDevices: () => health.forgotDevices,
    // Every pause 2 % longer, no report earlier or later.
    random: () => 0.5,
  });
  const stop = new AbortController();
  const start = () => keeper.run(stop.signal);
  const live = () => client.peek(nodes, 'n1');
  const ready = () => live()?.status?.conditions?.find(({ type }) => type === 'Ready');
  return { clock, client, events, health, more, keeper, stop, start, live, ready, shutdown };
}

test('registers, is Ready at once, then writes only on change or when a report is due', async (t) => {
  const { clock, client, events, health, keeper, stop, start, live, ready } = scene();
  const done = start();
  await clock.advance(0);
  t.is(ready()?.status, 'True');
  t.is(live()?.status?.nodeInfo?.containerRuntimeVersion, 'docker://20.10');
  t.deepEqual(live()?.status?.runtimeHandlers, [{ name: '', features: { recursiveReadOnlyMounts: true } }]);
  t.deepEqual(live()?.status?.images, [{ names: ['a'], sizeBytes: 1 }]);
  t.true(keeper.isReady());
  t.is(keeper.owner()?.name, 'n1');
  t.deepEqual(events.slice(0, 2), ['Normal Starting Starting kubelet.', 'Warning CgroupV1 old']);
  t.true(events.includes('Normal NodeReady Node n1 status is now: NodeReady'));
  const writes = client.writes.length;
  health.relistMs = 10_000_000;
  await clock.advance(290_000);
  t.true(client.writes.length - writes <= 1);
  await clock.advance(20_000);
  t.true(client.writes.length > writes);
  health.network = { ready: false, reason: 'NetworkPluginNotReady', message: 'no podCIDR' };
  keeper.refresh();
  await clock.advance(0);
  t.is(
    ready()?.message,
    'container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:no podCIDR',
  );
  t.is(events.at(-1), 'Normal NodeNotReady Node n1 status is now: NodeNotReady');
  stop.abort();
  await done;
});

test('what a controller wrote while the node was away is put right', async (t) => {
  const { clock, client, stop, start, health, ready } = scene();
  health.relistMs = 1e9;
  const done = start();
  await clock.advance(0);
  client.edit(nodes, 'n1', (node) => {
    for (const condition of node.status!.conditions!) condition.status = 'Unknown';
  });
  await clock.advance(10_200);
  t.is(ready()?.status, 'True');
  stop.abort();
  await done;
});

test('a restart beside a Ready node does not make it NotReady meanwhile; a reboot is told', async (t) => {
  const before = { conditions: [{ type: 'Ready', status: 'True' }], nodeInfo: { bootID: 'boot-1' } };
  const { clock, events, health, stop, start, ready } = scene(before as never);
  health.relistMs = undefined;
  const done = start();
  await clock.advance(500);
  t.is(ready()?.status, 'True');
  t.true(events.includes('Warning Rebooted Node n1 has been rebooted, boot id: boot-2'));
  health.relistMs = 500;
  await clock.advance(200);
  t.is(ready()?.message, 'kubelet is posting ready status');
  stop.abort();
  await done;
});

test('a node that stays sick is said to be so', async (t) => {
  const { clock, health, stop, start, ready } = scene({ conditions: [{ type: 'Ready', status: 'True' }] } as never);
  health.runtime = 'container runtime is down';
  health.relistMs = undefined;
  const done = start();
  await clock.advance(11_000);
  t.is(ready()?.message, '[container runtime is down, PLEG is not healthy: pleg has yet to be successful]');
  health.relistMs = 0;
  health.runtime = undefined;
  await clock.advance(200_000);
  t.regex(ready()?.message ?? '', /^PLEG is not healthy: pleg was last seen active 3m\d+s ago; threshold is 3m0s$/);
  stop.abort();
  await done;
});

test('a deleted Node object is made again', async (t) => {
  const { clock, client, health, stop, start, live } = scene();
  health.relistMs = 1e9;
  const done = start();
  await clock.advance(0);
  await client.delete(nodes, { name: 'n1' });
  t.is(live(), undefined);
  await clock.advance(10_300);
  t.truthy(live());
  stop.abort();
  await done;
});

test('extended resources appear, change and fall to 0 as device plugins come and go; those of administrators stay', async (t) => {
  const { clock, client, health, keeper, more, stop, start, live } = scene();
  health.relistMs = 1e9;
  const done = start();
  await clock.advance(0);
  client.edit(nodes, 'n1', (node) => {
    node.status!.capacity!['example.com/dongle'] = '7';
  });
  more.extended = new Map([['example.com/gpu', 4]]);
  keeper.refresh();
  await clock.advance(0);
  t.like(live()?.status?.capacity, { 'example.com/gpu': '4', 'example.com/dongle': '7', cpu: '2' });
  t.is(live()?.status?.allocatable?.['example.com/gpu'], '4');
  more.extended = new Map([['example.com/gpu', 0]]);
  keeper.refresh();
  await clock.advance(0);
  t.like(live()?.status?.capacity, { 'example.com/gpu': '0', 'example.com/dongle': '7' });
  stop.abort();
  await done;
});

for (const forgot of [false, true])
  test(`extended resources of an earlier node of this name ${forgot ? 'are zeroed' : 'stay'} when the agent remembers ${forgot ? 'nothing of devices' : 'its own'}`, async (t) => {
    const list = {
      cpu: '4',
      'vendor.com/gpu': '8',
      'hugepages-2Mi': '0',
      'node.kubernetes.io/x': '1',
      'a.io/none': '0',
    };
    const { clock, health, more, stop, start, live } = scene({ capacity: list, allocatable: list });
    health.forgotDevices = forgot;
    more.extended = new Map([['vendor.com/own', 2]]);
    const done = start();
    await clock.advance(0);
    for (const amounts of [live()!.status!.capacity!, live()!.status!.allocatable!]) {
      t.is(amounts['vendor.com/gpu'], forgot ? '0' : '8');
      t.is(amounts['vendor.com/own'], '2');
      t.is(amounts['node.kubernetes.io/x'], '1');
    }
    stop.abort();
    await done;
  });

test('a write that fails is tried again before the next regular look', async (t) => {
  const { clock, client, health, keeper, stop, start, ready } = scene();
  health.relistMs = 1e9;
  const done = start();
  await clock.advance(0);
  const patch = client.patch;
  let failures = 3;
  client.patch = (async (...args: Parameters<typeof patch>) => {
    if (failures-- > 0) throw new Error('away');
    return patch(...args);
  }) as typeof patch;
  health.network = { ready: false, reason: 'NetworkPluginNotReady', message: 'x' };
  keeper.refresh();
  await clock.advance(2_000);
  t.is(failures, -1);
  t.is(ready()?.status, 'False');
  stop.abort();
  await done;
});

test('spec.configSource is answered, and the answer goes with it', async (t) => {
  const { clock, client, health, stop, start, live } = scene();
  health.relistMs = 1e9;
  const done = start();
  await clock.advance(0);
  t.is(live()?.status?.config, undefined);
  client.edit(nodes, 'n1', (node) => {
    node.spec.configSource = { configMap: { name: 'c', namespace: 'n', kubeletConfigKey: 'k' } };
  });
  await clock.advance(11_000);
  t.regex(live()?.status?.config?.error ?? '', /spec\.configSource has no effect/);
  client.edit(nodes, 'n1', (node) => {
    node.spec.configSource = undefined;
  });
  await clock.advance(11_000);
  t.falsy(live()?.status?.config);
  stop.abort();
  await done;
});

test('a node that cannot read how much memory it has is not Ready', async (t) => {
  const { clock, health, more, keeper, stop, start, ready } = scene();
  health.relistMs = 1e9;
  more.memoryBytes = 0;
  const done = start();
  await clock.advance(0);
  t.is(ready()?.message, 'missing node capacity for resources: memory');
  delete more.memoryBytes;
  keeper.refresh();
  await clock.advance(0);
  t.is(ready()?.status, 'True');
  stop.abort();
  await done;
});

test('while the node shuts down it is not Ready', async (t) => {
  const { clock, health, keeper, stop, start, ready, shutdown } = scene();
  health.relistMs = 1e9;
  const done = start();
  await clock.advance(0);
  t.is(ready()?.status, 'True');
  shutdown.problem = 'node is shutting down';
  keeper.refresh();
  await clock.advance(0);
  t.like(ready(), { status: 'False', reason: 'KubeletNotReady', message: 'node is shutting down' });
  stop.abort();
  await done;
});

test('runtime monitor: tolerates 30 s of silence', async (t) => {
  const clock = createFakeClock();
  let up = false;
  let asked = 0;
  let changes = 0;
  const monitor = createRuntimeMonitor({
    clock,
    log: silentLogger,
    onChange: () => changes++,
    docker: {
      async version() {
        if (!up) throw new Error('away');
        asked++;
        return { version: asked === 1 ? '20.10' : '29.0', apiVersion: '1.41', minApiVersion: '1.12', components: {} };
      },
      async ping() {
        if (!up) throw new Error('away');
      },
    },
  });
  const stop = new AbortController();
  const done = monitor.run(stop.signal);
  await clock.advance(300);
  t.is(monitor.problem(), 'container runtime status check may not have completed yet');
  up = true;
  await clock.advance(100);
  t.is(monitor.problem(), undefined);
  t.is(monitor.version(), '20.10');
  up = false;
  await clock.advance(29_000);
  t.is(monitor.problem(), undefined);
  await clock.advance(10_000);
  t.is(monitor.problem(), 'container runtime is down');
  t.is(changes, 3);
  t.is(asked, 1, 'while nothing changes a ping does');
  up = true;
  await clock.advance(5_000);
  t.is(monitor.problem(), undefined);
  t.is(monitor.version(), '29.0', 'an Engine that was away may be another');
  stop.abort();
  await clock.advance(0);
  await done;
});
