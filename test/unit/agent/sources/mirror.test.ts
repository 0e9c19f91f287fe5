import test from 'ava';
import { createApiSource } from '../../../../agent/sources/api.ts';
import { createMirrorPodKeeper } from '../../../../agent/sources/mirror.ts';
import { createInformer } from '../../../../src/kube/informer.ts';
import { nodes, pods } from '../../../../src/kube/resources.ts';
import type { Draft, Node, Pod } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeKubeClient } from '../../../fakes/kube-client.ts';
import { until } from '../fake-agent.ts';
import { podOf } from '../pod.ts';

function staticPod(uid: string): Pod {
  return podOf(
    { nodeName: 'n1', containers: [{ name: 'app', image: 'i' }] },
    { name: 'web-n1', uid, annotations: { 'kubernetes.io/config.source': 'file', 'kubernetes.io/config.hash': uid } },
  );
}

test('mirror pods follow the static pods; the API source does not run them', async (t) => {
  const client = createFakeKubeClient(systemClock);
  const node = client.seed(nodes, { metadata: { name: 'n1' }, spec: {} } as Draft<Node>);
  const informer = createInformer({ client, resource: pods, log: silentLogger, clock: systemClock });
  const keeper = createMirrorPodKeeper({ client, informer, nodeName: 'n1', clock: systemClock, log: silentLogger });
  const run: string[] = [];
  const source = createApiSource(informer, systemClock);
  const sink = {
    set: (all: Pod[]) => run.push(...all.map((pod) => pod.metadata.name)),
    upsert: (pod: Pod) => run.push(pod.metadata.name),
    remove: (uid: string) => run.push(`-${uid}`),
  };
  const stop = new AbortController();
  const running = Promise.all([informer.run(stop.signal), keeper.run(stop.signal), source.run(sink, stop.signal)]);
  const mirror = () => client.peek(pods, 'default/web-n1');

  keeper.setStaticPods([staticPod('hash-1')]);
  await until('created', mirror);
  t.is(mirror()!.metadata.annotations!['kubernetes.io/config.mirror'], 'hash-1');
  t.like(mirror()!.metadata.ownerReferences![0]!, {
    kind: 'Node',
    name: 'n1',
    uid: node.metadata.uid,
    controller: true,
  });
  await until('known', () => keeper.of(staticPod('hash-1')));
  const firstUid = mirror()!.metadata.uid;

  keeper.setStaticPods([staticPod('hash-2')]);
  await until('replaced', () => mirror()?.metadata.annotations?.['kubernetes.io/config.mirror'] === 'hash-2');
  t.not(mirror()!.metadata.uid, firstUid);

  await until('seen', () => keeper.of(staticPod('hash-2'))?.metadata.uid === mirror()!.metadata.uid);
  await client.delete(pods, { namespace: 'default', name: 'web-n1', gracePeriodSeconds: 0 });
  await until('created again after a user deleted it', mirror);

  keeper.setStaticPods([]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.truthy(mirror(), 'another source may still have it');
  keeper.collect();
  await until('deleted', () => !mirror());
  t.deepEqual(
    run.filter((entry) => !entry.startsWith('-')),
    [],
  );

  client.seed(pods, { metadata: { name: 'api-pod', namespace: 'default' }, spec: { containers: [] } } as Draft<Pod>);
  await until('an API pod is run', () => run.includes('api-pod'));
  stop.abort();
  await running;
});
