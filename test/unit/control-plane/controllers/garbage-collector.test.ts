import test from 'ava';
import { createGarbageCollector } from '../../../../control-plane/controllers/garbage-collector.ts';
import { configMaps, namespaces, nodes, pods, type Resource, replicaSets } from '../../../../src/kube/resources.ts';
import type { KubeObject } from '../../../../src/kube/types.ts';
import { createScene, draftPod, draftReplicaSet } from './scene.ts';

const RESOURCES = [pods, replicaSets, configMaps, nodes, namespaces] as Resource[];

function setUp(t: Parameters<typeof createScene>[0]) {
  const scene = createScene(t);
  const owned = (name: string, ...owners: KubeObject[]) =>
    scene.client.seed(configMaps, {
      metadata: {
        name,
        namespace: 'default',
        ownerReferences: owners.map(({ apiVersion, kind, metadata }) => ({
          apiVersion: apiVersion!,
          kind: kind!,
          name: metadata.name,
          uid: metadata.uid,
          blockOwnerDeletion: true,
        })),
      },
    });
  const names = () => scene.client.all(configMaps).map(({ metadata }) => metadata.name);
  const start = () => scene.start(createGarbageCollector({ resources: RESOURCES }, scene.dependencies));
  return { ...scene, owned, names, start };
}

test('background: dependents go after their owner, and theirs after them', async (t) => {
  const { client, owned, names, start, settle } = setUp(t);
  const owner = client.seed(replicaSets, draftReplicaSet(0));
  const child = owned('child', owner);
  owned('grandchild', child);
  owned('free');
  await start();
  t.is(names().length, 3);
  await client.delete(replicaSets, { namespace: 'default', name: 'web' });
  await settle();
  t.deepEqual(names(), ['free']);
});

test('an owner of the same name but another uid is no owner; what is absent from the start is noticed', async (t) => {
  const { client, owned, names, start } = setUp(t);
  const owner = client.seed(replicaSets, draftReplicaSet(0));
  owned('child', { ...owner, metadata: { ...owner.metadata, uid: 'former' } });
  await start();
  t.deepEqual(names(), []);
});

test('with one owner left only the dangling reference goes', async (t) => {
  const { client, owned, start, settle } = setUp(t);
  const one = client.seed(replicaSets, draftReplicaSet(0));
  const two = owned('two');
  owned('child', one, two);
  await start();
  await client.delete(replicaSets, { namespace: 'default', name: 'web' });
  await settle();
  t.deepEqual(
    client.peek(configMaps, 'default/child')!.metadata.ownerReferences!.map(({ uid }) => uid),
    [two.metadata.uid],
  );
});

test('foreground: the owner stays until its blocking dependents are gone', async (t) => {
  const { client, start, settle } = setUp(t);
  const owner = client.seed(replicaSets, draftReplicaSet(0));
  const { apiVersion, kind, metadata } = owner;
  const reference = {
    apiVersion: apiVersion!,
    kind: kind!,
    name: metadata.name,
    uid: metadata.uid,
    blockOwnerDeletion: true,
  };
  client.seed(pods, draftPod('child', { metadata: { ownerReferences: [reference] }, spec: { nodeName: 'n' } }));
  await start();
  await client.delete(replicaSets, { namespace: 'default', name: 'web', propagationPolicy: 'Foreground' });
  await settle();
  t.truthy(client.peek(pods, 'default/child')!.metadata.deletionTimestamp, 'deleted, with its grace');
  t.truthy(client.peek(replicaSets, 'default/web'));
  await client.delete(pods, { namespace: 'default', name: 'child', gracePeriodSeconds: 0 });
  await settle();
  t.is(client.peek(replicaSets, 'default/web'), undefined);
});

test('orphan: dependents stay and forget their owner', async (t) => {
  const { client, owned, start, settle } = setUp(t);
  const owner = client.seed(replicaSets, draftReplicaSet(0));
  owned('child', owner);
  await start();
  await client.delete(replicaSets, { namespace: 'default', name: 'web', propagationPolicy: 'Orphan' });
  await settle();
  t.is(client.peek(replicaSets, 'default/web'), undefined);
  t.deepEqual(client.peek(configMaps, 'default/child')!.metadata.ownerReferences, []);
});

for (const propagationPolicy of ['Background', 'Foreground'] as const)
  test(`a circle of owners is collected (${propagationPolicy})`, async (t) => {
    const { client, owned, names, start, settle } = setUp(t);
    const a = owned('a');
    const b = owned('b', a);
    const c = owned('c', b);
    client.edit(configMaps, 'default/a', ({ metadata }) => {
      metadata.ownerReferences = [
        { apiVersion: 'v1', kind: 'ConfigMap', name: 'c', uid: c.metadata.uid, blockOwnerDeletion: true },
      ];
    });
    await start();
    t.is(names().length, 3);
    await client.delete(configMaps, { namespace: 'default', name: 'a', propagationPolicy });
    for (let round = 0; round < 5; round++) await settle();
    t.deepEqual(names(), []);
  });

test('what can not be judged is left alone: unknown kinds, owners in no namespace', async (t) => {
  const { client, names, start, told } = setUp(t);
  const reference = { apiVersion: 'example.com/v1', kind: 'Widget', name: 'w', uid: 'w' };
  client.seed(configMaps, { metadata: { name: 'a', namespace: 'default', ownerReferences: [reference] } });
  const namespaced = { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'p' };
  client.seed(nodes, { metadata: { name: 'n', ownerReferences: [namespaced] }, spec: {} });
  await start();
  t.deepEqual(names(), ['a']);
  t.truthy(client.peek(nodes, 'n'));
  t.regex(told[0]!, /^Warning OwnerRefInvalidNamespace/);
});
