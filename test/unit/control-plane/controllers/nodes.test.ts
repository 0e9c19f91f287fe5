import test from 'ava';
import { createCidrSet } from '../../../../control-plane/controllers/cidr-set.ts';
import { createNodeIpamController, nextFreeBlock } from '../../../../control-plane/controllers/node-ipam.ts';
import {
  createNodeLifecycleController,
  NODE_LIFECYCLE_DEFAULTS,
} from '../../../../control-plane/controllers/node-lifecycle.ts';
import { computeTaints } from '../../../../control-plane/controllers/node-taints.ts';
import { createTaintEvictionController } from '../../../../control-plane/controllers/taint-eviction.ts';
import { evictionTimeMs } from '../../../../control-plane/tolerations.ts';
import { leases, nodes, pods } from '../../../../src/kube/resources.ts';
import type { Taint } from '../../../../src/kube/types.ts';
import { createScene, draftNode, draftPod, makeNode } from './scene.ts';

type Scene = ReturnType<typeof createScene>;
const readyOf = (scene: Scene, name: string) =>
  scene.client.peek(nodes, name)!.status!.conditions!.find(({ type }) => type === 'Ready')!;
const taintsOf = (scene: Scene, name: string) =>
  (scene.client.peek(nodes, name)!.spec?.taints ?? []).map(({ key, effect }) => `${key}:${effect}`);

function draftLease(name: string, renewTime: string) {
  return { metadata: { name, namespace: 'kube-node-lease' }, spec: { holderIdentity: name, renewTime } };
}

test('a silent node becomes Unknown and tainted, its pods leave their Services; a living one stays', async (t) => {
  const scene = createScene(t);
  const { client, clock } = scene;
  for (const name of ['dead', 'alive']) {
    client.seed(nodes, draftNode(name));
    client.seed(leases, draftLease(name, 't0'));
  }
  client.seed(pods, draftPod('p', { ready: true, spec: { nodeName: 'dead' } }));
  await scene.start(createNodeLifecycleController(NODE_LIFECYCLE_DEFAULTS, scene.dependencies));
  for (let seconds = 0; seconds < 60; seconds += 10) {
    await clock.advance(10_000);
    client.edit(leases, 'kube-node-lease/alive', ({ spec }) => {
      spec!.renewTime = `t${seconds}`;
    });
    await scene.settle();
    if (seconds === 30) t.is(readyOf(scene, 'dead').status, 'True', 'within its grace');
  }
  t.like(readyOf(scene, 'dead'), { status: 'Unknown', reason: 'NodeStatusUnknown' });
  t.is(readyOf(scene, 'alive').status, 'True');
  t.deepEqual(taintsOf(scene, 'dead'), [
    'node.kubernetes.io/unreachable:NoSchedule',
    'node.kubernetes.io/unreachable:NoExecute',
  ]);
  t.deepEqual(taintsOf(scene, 'alive'), []);
  t.is(client.peek(pods, 'default/p')!.status!.conditions![0]!.status, 'False');
  client.edit(nodes, 'dead', ({ status }) => {
    status!.conditions = draftNode('x').status!.conditions;
    status!.conditions![0]!.lastHeartbeatTime = '2026-01-01T00:01:00Z';
  });
  await scene.settle();
  t.deepEqual(taintsOf(scene, 'dead'), [], 'back at once');
});

test('when no node is ready nothing is evicted: the trouble is more likely the control plane', async (t) => {
  const scene = createScene(t);
  scene.client.seed(nodes, draftNode('only', { ready: 'False' }));
  await scene.start(createNodeLifecycleController(NODE_LIFECYCLE_DEFAULTS, scene.dependencies));
  t.deepEqual(taintsOf(scene, 'only'), ['node.kubernetes.io/not-ready:NoSchedule']);
});

test('NoExecute taints are rationed', async (t) => {
  const scene = createScene(t);
  for (const name of ['a', 'b']) scene.client.seed(nodes, draftNode(name, { ready: 'False' }));
  scene.client.seed(nodes, draftNode('ok'));
  await scene.start(createNodeLifecycleController(NODE_LIFECYCLE_DEFAULTS, scene.dependencies));
  const evicting = () =>
    ['a', 'b'].filter((name) => taintsOf(scene, name).some((taint) => taint.endsWith('NoExecute')));
  t.is(evicting().length, 1);
  await scene.clock.advance(10_000);
  await scene.settle();
  t.is(evicting().length, 2);
});

test('taints follow conditions and cordons; taints of people stay', (t) => {
  const facts = { mayEvict: true, isDisrupted: false, nowMs: 0 };
  const keys = (node: ReturnType<typeof makeNode>) =>
    computeTaints(node, facts).map(({ key, effect }) => `${key}:${effect}`);
  const node = makeNode('n', { spec: { unschedulable: true, taints: [{ key: 'mine', effect: 'NoSchedule' }] } });
  node.status!.conditions!.push({ type: 'MemoryPressure', status: 'True' } as never);
  t.deepEqual(keys(node), [
    'mine:NoSchedule',
    'node.kubernetes.io/memory-pressure:NoSchedule',
    'node.kubernetes.io/unschedulable:NoSchedule',
  ]);
  const healed = makeNode('n', { spec: { taints: [{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }] } });
  t.deepEqual(keys(healed), []);
  healed.status!.conditions = [];
  t.deepEqual(keys(healed), ['node.kubernetes.io/not-ready:NoSchedule'], 'until it tells its readiness');
});

const NO_EXECUTE: Taint = { key: 'k', effect: 'NoExecute', timeAdded: '1970-01-01T00:00:10Z' };
for (const [what, tolerations, expected] of [
  ['untolerated: at once', [], 0],
  ['tolerated for ever', [{ key: 'k', operator: 'Exists' }], undefined],
  ['tolerated for a while, from timeAdded', [{ key: 'k', operator: 'Exists', tolerationSeconds: 5 }], 15_000],
  [
    'the shortest counts',
    [
      { operator: 'Exists', tolerationSeconds: 9 },
      { key: 'k', operator: 'Exists', tolerationSeconds: 5 },
    ],
    15_000,
  ],
  ['zero is at once', [{ operator: 'Exists', tolerationSeconds: 0 }], 0],
] as const)
  test(`eviction time: ${what}`, (t) => {
    t.is(evictionTimeMs([NO_EXECUTE], tolerations, 20_000), expected);
  });

test('pods leave a tainted node after their toleration; a taint that goes in time cancels it', async (t) => {
  const scene = createScene(t);
  const { client, clock } = scene;
  const tolerations = [{ key: 'k', operator: 'Exists', tolerationSeconds: 300 }];
  client.seed(nodes, draftNode('n'));
  client.seed(pods, draftPod('patient', { spec: { nodeName: 'n', tolerations } }));
  client.seed(pods, draftPod('hasty', { spec: { nodeName: 'n' } }));
  await scene.start(createTaintEvictionController(scene.dependencies));
  const taint = (taints: object[]) =>
    client.edit(nodes, 'n', ({ spec }) => {
      spec!.taints = taints as never;
    });
  taint([{ key: 'k', effect: 'NoExecute', timeAdded: '2026-01-01T00:00:00Z' }]);
  await scene.settle();
  const hasty = client.peek(pods, 'default/hasty')!;
  t.truthy(hasty.metadata.deletionTimestamp);
  t.like(hasty.status!.conditions!.at(-1), {
    type: 'DisruptionTarget',
    status: 'True',
    reason: 'DeletionByTaintManager',
  });
  const isLeaving = () => Boolean(client.peek(pods, 'default/patient')!.metadata.deletionTimestamp);
  await clock.advance(200_000);
  taint([]);
  await scene.settle();
  t.true(scene.told.some((line) => line.includes('Cancelling deletion of Pod default/patient')));
  await clock.advance(200_000);
  t.false(isLeaving());
  taint([{ key: 'k', effect: 'NoExecute', timeAdded: '2026-01-01T00:06:40Z' }]);
  await scene.settle();
  await clock.advance(300_000);
  await scene.settle();
  t.true(isLeaving());
});

test('podCIDRs: the lowest free one, never one in use, freed with its node', async (t) => {
  const scene = createScene(t);
  const { client } = scene;
  client.seed(nodes, draftNode('old', { spec: { podCIDR: '10.244.0.0/24' } }));
  client.seed(nodes, draftNode('a'));
  client.seed(nodes, draftNode('b'));
  await scene.start(
    createNodeIpamController({ networks: [{ cidr: '10.244.0.0/22', nodeMask: 24 }] }, scene.dependencies),
  );
  const cidr = (name: string) => client.peek(nodes, name)!.spec!.podCIDR;
  t.deepEqual([cidr('a'), cidr('b')].sort(), ['10.244.1.0/24', '10.244.2.0/24']);
  t.deepEqual(client.peek(nodes, 'a')!.spec!.podCIDRs, [cidr('a')]);
  client.seed(nodes, draftNode('c'));
  client.seed(nodes, draftNode('d'));
  await scene.settle();
  t.is(cidr('c'), '10.244.3.0/24');
  t.is(cidr('d'), undefined);
  t.true(scene.told.some((line) => line.includes('CIDRNotAvailable')));
  await client.delete(nodes, { name: 'old' });
  await scene.settle();
  t.is(cidr('d'), '10.244.0.0/24');
});

test('podCIDRs of two families: one of each network, and a node that has the first alone keeps it', async (t) => {
  const scene = createScene(t);
  const { client } = scene;
  client.seed(
    nodes,
    draftNode('old', { spec: { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24', 'fd00::/64'] } }),
  );
  client.seed(nodes, draftNode('single', { spec: { podCIDR: '10.244.1.0/24' } }));
  client.seed(nodes, draftNode('new'));
  const networks = [
    { cidr: '10.244.0.0/16', nodeMask: 24 },
    { cidr: 'fd00::/56', nodeMask: 64 },
  ];
  await scene.start(createNodeIpamController({ networks }, scene.dependencies));
  t.like(client.peek(nodes, 'new')!.spec, { podCIDR: '10.244.2.0/24', podCIDRs: ['10.244.2.0/24', 'fd00:0:0:1::/64'] });
  t.is(client.peek(nodes, 'single')!.spec!.podCIDRs, undefined);
});

test('two nodes with one podCIDR are told', async (t) => {
  const scene = createScene(t);
  for (const name of ['a', 'b']) scene.client.seed(nodes, draftNode(name, { spec: { podCIDR: '10.244.0.0/24' } }));
  await scene.start(
    createNodeIpamController({ networks: [{ cidr: '10.244.0.0/16', nodeMask: 24 }] }, scene.dependencies),
  );
  t.true(
    scene.told.some((line) => line.startsWith('Warning CIDRConflict: podCIDR 10.244.0.0/24 is also that of node')),
  );
});

test('blocks: foreign sizes count where they overlap; IPv6; nonsense is refused', (t) => {
  const blocks = createCidrSet('10.244.0.0/16', 24);
  t.is(nextFreeBlock(blocks, ['10.244.0.0/23', '192.168.0.0/16', '10.244.2.128/25']), '10.244.3.0/24');
  t.is(nextFreeBlock(createCidrSet('10.0.0.0/24', 24), ['10.0.0.0/8']), undefined);
  t.is(createCidrSet('fd00::/56', 64).at(3), 'fd00:0:0:3::/64');
  t.throws(() => createCidrSet('10.0.0.0', 24), { message: /not a CIDR/ });
  t.throws(() => createCidrSet('10.0.0.0/16', 8), { message: /does not fit/ });
});
