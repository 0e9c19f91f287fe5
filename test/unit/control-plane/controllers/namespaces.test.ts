import test from 'ava';
import { createNamespaceController } from '../../../../control-plane/controllers/namespace.ts';
import { createServiceAccountController } from '../../../../control-plane/controllers/serviceaccount.ts';
import { configMaps, namespaces, nodes, pods, type Resource, serviceAccounts } from '../../../../src/kube/resources.ts';
import type { Draft, Namespace } from '../../../../src/kube/types.ts';
import { createScene, draftPod } from './scene.ts';

const RESOURCES = [configMaps, pods, serviceAccounts, nodes] as Resource[];
const draft = (name: string): Draft<Namespace> => ({
  metadata: { name },
  spec: { finalizers: ['kubernetes'] },
  status: { phase: 'Active' },
});

test('a deleted namespace is emptied, waits for its pods, and goes', async (t) => {
  const scene = createScene(t);
  const { client } = scene;
  client.seed(namespaces, draft('doomed'));
  client.seed(configMaps, { metadata: { name: 'a', namespace: 'doomed' } });
  client.seed(configMaps, { metadata: { name: 'a', namespace: 'other' } });
  client.seed(pods, draftPod('p', { metadata: { namespace: 'doomed' }, spec: { nodeName: 'n' } }));
  await scene.start(createNamespaceController({ resources: RESOURCES }, scene.dependencies));
  t.deepEqual(client.writes, []);
  await client.delete(namespaces, { name: 'doomed' });
  await scene.settle();
  t.is(client.peek(configMaps, 'doomed/a'), undefined);
  t.truthy(client.peek(configMaps, 'other/a'));
  const conditions = client.peek(namespaces, 'doomed')!.status!.conditions!;
  t.like(
    conditions.find(({ type }) => type === 'NamespaceContentRemaining'),
    {
      status: 'True',
      reason: 'SomeResourcesRemain',
      message: 'Some resources are remaining: pods has 1 resource instances',
    },
  );
  await client.delete(pods, { namespace: 'doomed', name: 'p', gracePeriodSeconds: 0 });
  await scene.settle();
  t.is(client.peek(namespaces, 'doomed'), undefined, 'at once, without waiting for the next look');
});

test('finalizers that hold the content are named', async (t) => {
  const scene = createScene(t);
  const { client } = scene;
  client.seed(namespaces, draft('doomed'));
  client.seed(configMaps, { metadata: { name: 'a', namespace: 'doomed', finalizers: ['example.com/x'] } });
  await scene.start(createNamespaceController({ resources: RESOURCES }, scene.dependencies));
  await client.delete(namespaces, { name: 'doomed' });
  await scene.settle();
  const conditions = client.peek(namespaces, 'doomed')!.status!.conditions!;
  t.like(
    conditions.find(({ type }) => type === 'NamespaceFinalizersRemaining'),
    {
      status: 'True',
      message: 'Some content in the namespace has finalizers remaining: example.com/x in 1 resource instances',
    },
  );
});

test('every namespace has its default ServiceAccount, again after a deletion, never while terminating', async (t) => {
  const scene = createScene(t);
  const { client } = scene;
  client.seed(namespaces, draft('a'));
  await scene.start(createServiceAccountController(scene.dependencies));
  t.truthy(client.peek(serviceAccounts, 'a/default'));
  await client.delete(serviceAccounts, { namespace: 'a', name: 'default' });
  await scene.settle();
  t.truthy(client.peek(serviceAccounts, 'a/default'));
  client.seed(namespaces, draft('b'));
  await scene.settle();
  t.truthy(client.peek(serviceAccounts, 'b/default'));
  await client.delete(namespaces, { name: 'a' });
  await client.delete(serviceAccounts, { namespace: 'a', name: 'default' });
  await scene.settle();
  t.is(client.peek(serviceAccounts, 'a/default'), undefined);
});
