import test, { type ExecutionContext } from 'ava';
import type { KubeClient, WatchEvent } from '../../../src/kube/client.ts';
import { isAlreadyExists, isConflict, isNamespaceTerminating, isNotFound } from '../../../src/kube/errors.ts';
import { configMaps, namespaces, pods, replicaSets, serviceAccounts } from '../../../src/kube/resources.ts';
import type { ConfigMap } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { createFakeKubeClient } from '../../fakes/kube-client.ts';
import { startTestControlPlane } from '../../support/control-plane.ts';

/** The same assertions on the fake, which controllers are tested with, and on the real client and server. */
const worlds: [name: string, open: (t: ExecutionContext) => Promise<KubeClient>][] = [
  [
    'fake',
    async () => {
      const client = createFakeKubeClient(systemClock);
      client.seed(namespaces, { metadata: { name: 'default' }, spec: { finalizers: ['kubernetes'] } });
      return client;
    },
  ],
  [
    'real',
    async (t) => {
      const server = await startTestControlPlane();
      t.teardown(() => server.stop());
      await server.createNamespaces('default');
      return server.admin();
    },
  ],
];

const namespace = 'default';
const spec = { containers: [{ name: 'c', image: 'i' }] };
const draft = (name: string, data: Record<string, string> = {}) => ({ metadata: { name, namespace }, data });

for (const [world, open] of worlds) {
  test(`${world}: create fills metadata in; names are unique; absent is NotFound`, async (t) => {
    const client = await open(t);
    const made = await client.create(configMaps, draft('a', { k: 'v' }));
    t.like(made, { apiVersion: 'v1', kind: 'ConfigMap', data: { k: 'v' } });
    for (const field of ['uid', 'resourceVersion', 'creationTimestamp'] as const) t.truthy(made.metadata[field]);
    t.true(isAlreadyExists(await t.throwsAsync(client.create(configMaps, draft('a')))));
    t.true(isNotFound(await t.throwsAsync(client.get(configMaps, { namespace, name: 'b' }))));
    const generated = await client.create(configMaps, { metadata: { generateName: 'g-', namespace } });
    t.regex(generated.metadata.name, /^g-[a-z0-9]{5}$/);
  });

  test(`${world}: replace is guarded by resourceVersion; a no-op keeps it`, async (t) => {
    const client = await open(t);
    const first = await client.create(configMaps, draft('a'));
    const second = await client.replace(configMaps, { ...first, data: { k: '1' } });
    t.true(BigInt(second.metadata.resourceVersion) > BigInt(first.metadata.resourceVersion));
    t.true(isConflict(await t.throwsAsync(client.replace(configMaps, { ...first, data: { k: '2' } }))));
    const same = await client.replace(configMaps, second);
    t.is(same.metadata.resourceVersion, second.metadata.resourceVersion);
  });

  test(`${world}: merge patches add, change and remove; resourceVersion and uid in them are preconditions`, async (t) => {
    const client = await open(t);
    const { metadata } = await client.create(configMaps, draft('a', { gone: 'x', stays: 'y' }));
    const patch = (body: object) => client.patch(configMaps, { namespace, name: 'a', type: 'merge', patch: body });
    const patched = await patch({
      metadata: { resourceVersion: metadata.resourceVersion },
      data: { gone: null, n: '1' },
    });
    t.deepEqual(patched.data, { stays: 'y', n: '1' });
    const stale = { metadata: { resourceVersion: metadata.resourceVersion }, data: { n: '2' } };
    t.true(isConflict(await t.throwsAsync(patch(stale))));
    await t.throwsAsync(patch({ metadata: { uid: 'another' }, data: { n: '2' } }));
  });

  test(`${world}: generation moves with the spec; status has a door of its own`, async (t) => {
    const client = await open(t);
    const made = await client.create(replicaSets, {
      metadata: { name: 'r', namespace },
      spec: {
        replicas: 1,
        selector: { matchLabels: { a: 'b' } },
        template: { metadata: { labels: { a: 'b' } }, spec },
      },
    });
    t.is(made.metadata.generation, 1);
    const told = await client.replace(
      replicaSets,
      { ...made, spec: { ...made.spec, replicas: 9 }, status: { replicas: 1, observedGeneration: 1 } },
      { subresource: 'status' },
    );
    t.is(told.spec.replicas, 1);
    t.like(told.status, { replicas: 1, observedGeneration: 1 });
    t.is(told.metadata.generation, 1);
    const scaled = await client.replace(replicaSets, {
      ...told,
      spec: { ...told.spec, replicas: 2 },
      status: { replicas: 7 },
    });
    t.is(scaled.metadata.generation, 2);
    t.is(scaled.status?.replicas, 1);
  });

  test(`${world}: delete with preconditions and finalizers`, async (t) => {
    const client = await open(t);
    const { metadata } = await client.create(configMaps, {
      metadata: { name: 'a', namespace, finalizers: ['example.com/x'] },
    });
    t.true(isConflict(await t.throwsAsync(client.delete(configMaps, { namespace, name: 'a', uid: 'another' }))));
    const marked = (await client.delete(configMaps, { namespace, name: 'a', uid: metadata.uid })) as ConfigMap;
    t.truthy(marked.metadata.deletionTimestamp);
    await client.patch(configMaps, { namespace, name: 'a', type: 'merge', patch: { metadata: { finalizers: [] } } });
    t.true(isNotFound(await t.throwsAsync(client.get(configMaps, { namespace, name: 'a' }))));
    await client.create(configMaps, draft('b'));
    t.like(await client.delete(configMaps, { namespace, name: 'b' }), { kind: 'Status', status: 'Success' });
  });

  test(`${world}: propagation policies leave their finalizers`, async (t) => {
    const client = await open(t);
    for (const [propagationPolicy, finalizer] of [
      ['Foreground', 'foregroundDeletion'],
      ['Orphan', 'orphan'],
    ] as const) {
      const name = finalizer.toLowerCase();
      await client.create(configMaps, draft(name));
      const marked = (await client.delete(configMaps, { namespace, name, propagationPolicy })) as ConfigMap;
      t.deepEqual(marked.metadata.finalizers, [finalizer]);
    }
  });

  test(`${world}: pods end gracefully once they have a node`, async (t) => {
    const client = await open(t);
    if (world === 'real') await client.create(serviceAccounts, { metadata: { name: 'default', namespace } });
    for (const name of ['free', 'bound']) await client.create(pods, { metadata: { name, namespace }, spec });
    const binding = {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name: 'bound', namespace },
      target: { apiVersion: 'v1', kind: 'Node', name: 'n1' },
    };
    const bind = () => client.create(pods, binding, { namespace, name: 'bound', subresource: 'binding' });
    await bind();
    const bound = await client.get(pods, { namespace, name: 'bound' });
    t.is(bound.spec.nodeName, 'n1');
    t.like(
      bound.status?.conditions?.find(({ type }) => type === 'PodScheduled'),
      { status: 'True' },
    );
    t.true(isConflict(await t.throwsAsync(bind())));
    t.like(await client.delete(pods, { namespace, name: 'bound' }), { metadata: { deletionGracePeriodSeconds: 30 } });
    await client.get(pods, { namespace, name: 'bound' });
    await client.delete(pods, { namespace, name: 'bound', gracePeriodSeconds: 0 });
    await client.delete(pods, { namespace, name: 'free' });
    for (const name of ['free', 'bound'])
      t.true(isNotFound(await t.throwsAsync(client.get(pods, { namespace, name }))));
  });

  test(`${world}: lists select; watches tell what happened since, and objects that enter or leave a selection`, async (t) => {
    const client = await open(t);
    const labelled = (name: string, app: string) => ({ metadata: { name, namespace, labels: { app } } });
    const a = await client.create(configMaps, labelled('a', 'x'));
    await client.create(configMaps, labelled('b', 'y'));
    const names = async (options: object) =>
      (await client.list(configMaps, { namespace, ...options })).items.map(({ metadata }) => metadata.name).sort();
    t.deepEqual(await names({ labelSelector: 'app=x' }), ['a']);
    t.deepEqual(await names({ fieldSelector: 'metadata.name!=a,metadata.name!=kube-root-ca.crt' }), ['b']);

    const abort = new AbortController();
    const { resourceVersion } = (await client.list(configMaps)).metadata;
    await client.patch(configMaps, { namespace, name: 'a', type: 'merge', patch: { data: { k: 'v' } } });
    const seen: string[] = [];
    const watching = (async () => {
      const events: AsyncIterable<WatchEvent<ConfigMap>> = client.watch(configMaps, {
        resourceVersion: resourceVersion!,
        labelSelector: 'app=x',
        signal: abort.signal,
      });
      for await (const event of events) {
        if (event.type === 'BOOKMARK') continue;
        seen.push(`${event.type} ${event.object.metadata.name}`);
        if (seen.length === 4) return;
      }
    })();
    await client.patch(configMaps, {
      namespace,
      name: 'b',
      type: 'merge',
      patch: { metadata: { labels: { app: 'x' } } },
    });
    await client.patch(configMaps, {
      namespace,
      name: 'b',
      type: 'merge',
      patch: { metadata: { labels: { app: 'y' } } },
    });
    await client.delete(configMaps, { namespace, name: 'a', uid: a.metadata.uid });
    await watching;
    abort.abort();
    t.deepEqual(seen, ['MODIFIED a', 'ADDED b', 'DELETED b', 'DELETED a']);
  });

  test(`${world}: a deleted namespace refuses new content and goes when finalized`, async (t) => {
    const client = await open(t);
    const made = await client.create(namespaces, {
      metadata: { name: 'doomed' },
      spec: { finalizers: ['kubernetes'] },
    });
    await client.delete(namespaces, { name: 'doomed' });
    const marked = await client.get(namespaces, { name: 'doomed' });
    t.is(marked.status?.phase, 'Terminating');
    t.is(made.metadata.uid, marked.metadata.uid);
    const refused = await t.throwsAsync(client.create(configMaps, { metadata: { name: 'a', namespace: 'doomed' } }));
    t.true(isNamespaceTerminating(refused));
    await client.replace(namespaces, { ...marked, spec: { finalizers: [] } }, { subresource: 'finalize' });
    t.true(isNotFound(await t.throwsAsync(client.get(namespaces, { name: 'doomed' }))));
  });
}
