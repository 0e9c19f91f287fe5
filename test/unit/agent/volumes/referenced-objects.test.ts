import test from 'ava';
import { findReferences } from '../../../../agent/volumes/pod-references.ts';
import { createReferencedObjects } from '../../../../agent/volumes/referenced-objects.ts';
import type { KubeClient, WatchOptions } from '../../../../src/kube/client.ts';
import { configMaps, secrets } from '../../../../src/kube/resources.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { createFakeKubeClient } from '../../../fakes/kube-client.ts';
import { eventually } from '../../../support/eventually.ts';
import { podOf } from '../pod.ts';

function scene(strategy: 'Watch' | 'Cache' | 'Get') {
  const clock = createFakeClock();
  const api = createFakeKubeClient(clock);
  const requests: string[] = [];
  const open = new Set<string>();
  const server = { isAway: false };
  const client: KubeClient = {
    ...api,
    async list(resource, options) {
      if (server.isAway) throw new Error('no route to host');
      return api.list(resource, options);
    },
    get(resource, options) {
      requests.push(`get ${resource.plural} ${options.name}`);
      return api.get(resource, options);
    },
    async *watch(resource, options: WatchOptions) {
      const name = `${resource.plural} ${options.namespace} ${options.fieldSelector}`;
      open.add(name);
      try {
        yield* api.watch(resource, options);
      } finally {
        open.delete(name);
      }
    },
  };
  const objects = createReferencedObjects({ strategy }, { client, clock, log: silentLogger });
  const changed: string[] = [];
  objects.onChange((uid) => changed.push(uid));
  const seed = (name: string, text: string, more: object = {}) =>
    api.seed(configMaps, { metadata: { name, namespace: 'default' }, data: { text }, ...more });
  const write = (name: string, text: string) =>
    api.edit(configMaps, `default/${name}`, (object) => {
      object.data = { text };
    });
  const textOf = async (name: string) => (await objects.configMap('default', name))?.data?.['text'];
  return { clock, api, server, objects, requests, open, changed, seed, write, textOf };
}

function podNaming(uid: string, ...names: string[]): Pod {
  const pod = podOf({ volumes: names.map((name) => ({ name, configMap: { name } })) });
  return { ...pod, metadata: { ...pod.metadata, uid } };
}

test('Watch: one watch an object for all its pods, changes tell them at once, the last pod ends it', async (t) => {
  const { objects, requests, open, changed, seed, write, textOf, api } = scene('Watch');
  seed('a', '1');
  objects.follow(podNaming('one', 'a', 'later'));
  objects.follow(podNaming('two', 'a'));
  t.is(await textOf('a'), '1');
  t.is(await textOf('later'), undefined);
  await eventually('watches', () => open.size === 2);
  t.deepEqual([...open].toSorted(), ['configmaps default metadata.name=a', 'configmaps default metadata.name=later']);
  t.deepEqual(changed, [], 'what is there from the beginning is no change');

  write('a', '2');
  await eventually('told', () => changed.length === 2);
  t.deepEqual(changed.splice(0), ['one', 'two']);
  t.is(await textOf('a'), '2');
  seed('later', 'here');
  await eventually('told', () => changed.length === 1);
  t.deepEqual(changed.splice(0), ['one']);
  await api.delete(configMaps, { namespace: 'default', name: 'a' });
  await eventually('told', () => changed.length === 2);
  t.is(await textOf('a'), undefined);
  t.deepEqual(requests, [], 'no question beside the watches');

  objects.forget('one');
  await eventually('one watch less', () => open.size === 1);
  objects.follow(podNaming('two'));
  await eventually('a pod that no longer names it', () => open.size === 0);
  objects.forget('two');
  objects.forget('two');
});

test('Watch: an immutable object is not watched any more, and stays known', async (t) => {
  const { objects, open, seed, textOf } = scene('Watch');
  seed('fixed', '1', { immutable: true });
  objects.follow(podNaming('one', 'fixed'));
  t.is(await textOf('fixed'), '1');
  await eventually('no watch', () => open.size === 0);
  t.is(await textOf('fixed'), '1');
});

test('Watch: while the list fails a plain question tells why, and the pod hears when it has worked', async (t) => {
  const { api, server, objects, clock, changed, requests, seed, textOf } = scene('Watch');
  seed('a', '1');
  server.isAway = true;
  api.failNext('get', 'configmaps', new Error('no route to host'));
  objects.follow(podNaming('one', 'a'));
  const asked = textOf('a');
  const failed = t.throwsAsync(asked, { message: 'no route to host' });
  for (let step = 0; step < 3; step++) await clock.advance(500);
  await failed;
  t.deepEqual(requests, ['get configmaps a']);
  server.isAway = false;
  await eventually('told', async () => {
    await clock.advance(1000);
    return changed.length > 0;
  });
  t.is(await textOf('a'), '1');
});

test('objects that no pod names are asked for', async (t) => {
  const { objects, api, requests } = scene('Watch');
  api.seed(secrets, { metadata: { name: 's', namespace: 'default' }, data: { k: 'dg==' } });
  t.is((await objects.secret('default', 's'))?.data?.['k'], 'dg==');
  t.is(await objects.secret('default', 'none'), undefined);
  t.deepEqual(requests, ['get secrets s', 'get secrets none']);
});

test('Get asks each time; Cache once a minute, and again for a new pod', async (t) => {
  const get = scene('Get');
  get.seed('a', '1');
  get.objects.follow(podNaming('one', 'a'));
  await get.textOf('a');
  get.write('a', '2');
  t.is(await get.textOf('a'), '2');
  t.is(get.requests.length, 2);

  const cache = scene('Cache');
  cache.seed('a', '1');
  cache.objects.follow(podNaming('one', 'a'));
  await cache.textOf('a');
  cache.write('a', '2');
  t.is(await cache.textOf('a'), '1');
  await cache.clock.advance(60_000);
  t.is(await cache.textOf('a'), '2');
  cache.write('a', '3');
  cache.objects.follow(podNaming('two', 'a'));
  t.is(await cache.textOf('a'), '3');
  t.is(cache.open.size + get.open.size, 0);
});

test('everything in a pod that names a ConfigMap or a Secret', (t) => {
  const pod = podOf({
    imagePullSecrets: [{ name: 'pull' }],
    volumes: [
      { name: 'a', configMap: { name: 'cm-volume' } },
      { name: 'b', secret: { secretName: 'secret-volume' } },
      {
        name: 'c',
        projected: { sources: [{ configMap: { name: 'cm-projected' } }, { secret: { name: 'secret-projected' } }] },
      },
      { name: 'd', csi: { driver: 'd', nodePublishSecretRef: { name: 'csi' } } },
    ],
    initContainers: [
      { name: 'i', envFrom: [{ configMapRef: { name: 'cm-from' } }, { secretRef: { name: 'secret-from' } }] },
    ],
    containers: [
      {
        name: 'app',
        env: [
          { name: 'A', valueFrom: { configMapKeyRef: { name: 'cm-key', key: 'k' } } },
          { name: 'B', valueFrom: { secretKeyRef: { name: 'pull', key: 'k' } } },
        ],
      },
    ],
  });
  t.deepEqual(
    findReferences(pod)
      .map(({ kind, name }) => `${kind} ${name}`)
      .toSorted(),
    [
      'configMap cm-from',
      'configMap cm-key',
      'configMap cm-projected',
      'configMap cm-volume',
      'secret csi',
      'secret pull',
      'secret secret-from',
      'secret secret-projected',
      'secret secret-volume',
    ],
  );
});
