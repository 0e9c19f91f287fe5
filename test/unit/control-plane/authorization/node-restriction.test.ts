import test from 'ava';
import type { ResourceDefinition } from '../../../../control-plane/apiserver/definition.ts';
import { createServiceAllocator } from '../../../../control-plane/resources/allocation/service-allocator.ts';
import { servedResources } from '../../../../control-plane/resources/served.ts';
import type { KubeObject, Lease, Node, Pod } from '../../../../src/kube/types.ts';
import { ADMIN, meta, nodeUser, strategyContext } from '../../../support/strategy-context.ts';

const served = servedResources({ allocator: createServiceAllocator({ serviceCidrs: ['10.96.0.0/12'] }) });
const definition = (plural: string) => served.find((one) => one.plural === plural)! as ResourceDefinition<KubeObject>;

const node = (name: string, rest: Partial<Node> = {}): Node => ({
  metadata: meta(name, { namespace: undefined, uid: `uid-${name}` }),
  spec: {},
  ...rest,
});
const context = (name = 'n1') => strategyContext(nodeUser(name), { nodes: [node('n1')] });

const owner = (change: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Node',
  name: 'n1',
  uid: 'uid-n1',
  controller: true,
  ...change,
});

function mirrorPod(change: { spec?: Partial<Pod['spec']>; metadata?: Partial<Pod['metadata']> } = {}): Pod {
  return {
    metadata: meta('static-n1', {
      annotations: { 'kubernetes.io/config.mirror': 'hash' },
      ownerReferences: [owner()],
      ...change.metadata,
    }),
    spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x:1' }], ...change.spec },
  };
}

async function createPod(pod: Pod): Promise<void> {
  const pods = definition('pods');
  pods.applyDefaults(pod);
  await pods.prepareForCreate(pod, context());
}

test('a node creates its mirror pods', async (t) => {
  await t.notThrowsAsync(createPod(mirrorPod()));
});

const who = 'node "n1"';
const badPods: [string, Pod, string][] = [
  [
    'that is no mirror',
    mirrorPod({ metadata: { annotations: {} } }),
    `pod does not have "kubernetes.io/config.mirror" annotation, ${who} can only create mirror pods`,
  ],
  [
    'of another node',
    mirrorPod({ spec: { nodeName: 'n2' } }),
    `${who} can only create pods with spec.nodeName set to itself`,
  ],
  [
    'without an owner',
    mirrorPod({ metadata: { ownerReferences: [] } }),
    `${who} can only create pods with an owner reference set to itself`,
  ],
  [
    'of an earlier node of this name',
    mirrorPod({ metadata: { ownerReferences: [owner({ uid: 'old' })] } }),
    'node n1 UID mismatch: expected old got uid-n1',
  ],
  [
    'with an account',
    mirrorPod({ spec: { serviceAccountName: 'default' } }),
    `${who} can not create pods that reference a service account`,
  ],
  [
    'with a secret',
    mirrorPod({ spec: { volumes: [{ name: 'v', secret: { secretName: 's' } }] } }),
    `${who} can not create pods that reference secrets`,
  ],
  [
    'with a config map',
    mirrorPod({ spec: { containers: [{ name: 'c', image: 'x', envFrom: [{ configMapRef: { name: 'm' } }] }] } }),
    `${who} can not create pods that reference configmaps`,
  ],
  [
    'that claims devices (CVE-2025-4563)',
    mirrorPod({ spec: { resourceClaims: [{ name: 'gpu', resourceClaimName: 'gpu' }] } }),
    `${who} can not create pods that reference resourceclaims`,
  ],
];
for (const [what, pod, why] of badPods)
  test(`a node may not create a pod ${what}`, async (t) => {
    t.is((await t.throwsAsync(createPod(pod))).message, `pods "static-n1" is forbidden: ${why}`);
  });

test('a node writes the status of its own pods, without labels', async (t) => {
  const { status } = definition('pods');
  const old = mirrorPod();
  await t.notThrowsAsync(async () => status!.prepareForUpdate!(mirrorPod(), old, context()));
  t.is(
    (await t.throwsAsync(async () => status!.prepareForUpdate!(mirrorPod(), old, context('n2')))).message,
    'pods "static-n1" is forbidden: node "n2" can only update pod status for pods with spec.nodeName set to itself',
  );
  const relabelled = mirrorPod({ metadata: { labels: { a: 'b' } } });
  t.regex(
    (await t.throwsAsync(async () => status!.prepareForUpdate!(relabelled, old, context()))).message,
    /node "n1" cannot update labels through pod status/,
  );
});

test('a node deletes its own pods and updates none', async (t) => {
  const pods = definition('pods');
  t.notThrows(() => pods.checkDelete!(mirrorPod(), context()));
  t.throws(() => pods.checkDelete!(mirrorPod(), context('n2')), {
    message: 'pods "static-n1" is forbidden: node "n2" can only delete pods with spec.nodeName set to itself',
  });
  await t.throwsAsync(async () => pods.prepareForUpdate(mirrorPod(), mirrorPod(), context()), {
    message: /can only create and delete mirror pods/,
  });
});

test('a node registers itself, with its own labels', async (t) => {
  const nodes = definition('nodes');
  const good = node('n1', {
    metadata: { ...node('n1').metadata, labels: { 'kubernetes.io/hostname': 'n1', 'example.com/rack': '7' } },
  });
  await t.notThrowsAsync(async () => nodes.prepareForCreate(good, context()));
  t.is(
    (await t.throwsAsync(async () => nodes.prepareForCreate(node('n2'), context()))).message,
    'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"',
  );
  const grabbing = node('n1', {
    metadata: {
      ...node('n1').metadata,
      labels: { 'node-role.kubernetes.io/control-plane': '', 'node-restriction.kubernetes.io/a': '' },
    },
  });
  t.is(
    (await t.throwsAsync(async () => nodes.prepareForCreate(grabbing, context()))).message,
    'nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: node-restriction.kubernetes.io/a, node-role.kubernetes.io/control-plane',
  );
});

test('CVE-2025-5187: a node keeps its hands off its taints and of others’ labels', async (t) => {
  const nodes = definition('nodes');
  const old = node('n1', { spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } });
  await t.notThrowsAsync(async () => nodes.prepareForUpdate(structuredClone(old), old, context()));
  t.is(
    (await t.throwsAsync(async () => nodes.prepareForUpdate(node('n1'), old, context()))).message,
    'nodes "n1" is forbidden: node "n1" is not allowed to modify taints',
  );
  const labelled = { ...old, metadata: { ...old.metadata, labels: { 'node-role.kubernetes.io/x': '' } } };
  t.regex(
    (await t.throwsAsync(async () => nodes.status!.prepareForUpdate!(labelled, old, context()))).message,
    /is not allowed to modify labels: node-role.kubernetes.io\/x/,
  );
});

test('CVE-2025-4563: a node does not say which claims a pod has', async (t) => {
  const { status } = definition('pods');
  const claiming = {
    ...mirrorPod(),
    status: { resourceClaimStatuses: [{ name: 'gpu', resourceClaimName: 'somebodys' }] },
  };
  t.regex(
    (await t.throwsAsync(async () => status!.prepareForUpdate!(claiming, mirrorPod(), context()))).message,
    /node "n1" cannot update resource claim statuses/,
  );
});

test('CVE-2025-5187: a node gives itself no owner, whose absence would delete it', async (t) => {
  const nodes = definition('nodes');
  const owned = node('n1', {
    metadata: {
      ...node('n1').metadata,
      ownerReferences: [{ apiVersion: 'v1', kind: 'Namespace', name: 'gone', uid: 'gone' }],
    },
  });
  const spec = { taints: [{ key: 'a', effect: 'NoSchedule' as const }] };
  const old = node('n1', { spec });
  const changed = Object.assign(owned, { spec });
  for (const write of [
    async () => nodes.prepareForUpdate(changed, old, context()),
    async () => nodes.status!.prepareForUpdate!(changed, old, context()),
    // And takes none away.
    async () => nodes.prepareForUpdate(old, changed, context()),
  ])
    t.is(
      (await t.throwsAsync(write)).message,
      'nodes "n1" is forbidden: node "n1" is not allowed to modify ownerReferences',
    );
  t.regex(
    (await t.throwsAsync(async () => nodes.prepareForCreate(owned, context()))).message,
    /node "n1" is not allowed to set ownerReferences/,
  );
  await t.notThrowsAsync(async () => nodes.prepareForUpdate(changed, old, strategyContext(ADMIN)));
});

test('a node has one lease', async (t) => {
  const leases = definition('leases');
  const lease = (name: string, namespace: string): Lease => ({ metadata: meta(name, { namespace }), spec: {} });
  await t.notThrowsAsync(async () => leases.prepareForCreate(lease('n1', 'kube-node-lease'), context()));
  await t.throwsAsync(async () => leases.prepareForCreate(lease('n2', 'kube-node-lease'), context()), {
    message: /can only access node lease with the same name as the requesting node/,
  });
  await t.throwsAsync(async () => leases.prepareForCreate(lease('n1', 'kube-system'), context()));
});

test('others are not restricted', async (t) => {
  const nodes = definition('nodes');
  const old = node('n1', { spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } });
  await t.notThrowsAsync(async () => nodes.prepareForUpdate(node('n1'), old, strategyContext(ADMIN)));
  t.notThrows(() => definition('namespaces').checkDelete!(node('team'), context()));
});

test('every kind is served once, under its group', (t) => {
  const paths = served.map(({ group, plural }) => `${group}/${plural}`);
  t.is(new Set(paths).size, paths.length);
  for (const wanted of [
    '/pods',
    '/services',
    '/namespaces',
    'apps/deployments',
    'apps/replicasets',
    'coordination.k8s.io/leases',
    'discovery.k8s.io/endpointslices',
  ])
    t.true(paths.includes(wanted), wanted);
});
