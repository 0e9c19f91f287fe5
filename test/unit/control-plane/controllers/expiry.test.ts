import test from 'ava';
import { createEventTtlController, EVENT_TTL_DEFAULTS } from '../../../../control-plane/controllers/event-ttl.ts';
import { createPodGcController, POD_GC_DEFAULTS } from '../../../../control-plane/controllers/pod-gc.ts';
import { events, nodes, pods } from '../../../../src/kube/resources.ts';
import { createScene, draftNode, draftPod } from './scene.ts';

test('pods of a vanished node go after a quarantine; other leftovers at once', async (t) => {
  const scene = createScene(t);
  const { client, clock } = scene;
  client.seed(nodes, draftNode('n'));
  client.seed(
    pods,
    draftPod('orphan', { ready: true, spec: { nodeName: 'gone' }, metadata: { finalizers: ['keep'] } }),
  );
  client.seed(pods, draftPod('fine', { ready: true, spec: { nodeName: 'n' } }));
  for (const day of [3, 1, 2])
    client.seed(
      pods,
      draftPod(`done${day}`, {
        status: { phase: 'Succeeded' },
        metadata: { creationTimestamp: `2025-01-0${day}T00:00:00Z` },
      }),
    );
  await scene.start(createPodGcController({ ...POD_GC_DEFAULTS, terminatedPodThreshold: 2 }, scene.dependencies));
  const names = () => client.all(pods).map(({ metadata }) => metadata.name);
  t.deepEqual(names(), ['orphan', 'fine', 'done3', 'done2']);
  await clock.advance(20_000);
  t.falsy(client.peek(pods, 'default/orphan')!.metadata.deletionTimestamp, 'its node may come back');
  await clock.advance(20_000);
  await scene.settle();
  const orphan = client.peek(pods, 'default/orphan')!;
  t.truthy(orphan.metadata.deletionTimestamp);
  t.is(orphan.status!.phase, 'Failed');
  t.like(orphan.status!.conditions!.at(-1), {
    type: 'DisruptionTarget',
    reason: 'DeletionByPodGC',
    message: 'PodGC: node no longer exists',
  });
});

test('a node that comes back in time keeps its pods', async (t) => {
  const scene = createScene(t);
  scene.client.seed(pods, draftPod('p', { ready: true, spec: { nodeName: 'n' } }));
  await scene.start(createPodGcController(POD_GC_DEFAULTS, scene.dependencies));
  await scene.clock.advance(20_000);
  scene.client.seed(nodes, draftNode('n'));
  await scene.settle();
  await scene.clock.advance(60_000);
  t.falsy(scene.client.peek(pods, 'default/p')!.metadata.deletionTimestamp);
});

test('events go an hour after they were last written', async (t) => {
  const scene = createScene(t);
  const { client, clock } = scene;
  const draft = (name: string, lastTimestamp: string) => ({
    metadata: { name, namespace: 'default' },
    involvedObject: {},
    lastTimestamp,
  });
  client.seed(events, draft('once', '2026-01-01T00:00:00Z'));
  client.seed(events, draft('repeated', '2026-01-01T00:30:00Z'));
  await scene.start(createEventTtlController(EVENT_TTL_DEFAULTS, scene.dependencies));
  await clock.advance(3_600_000);
  t.is(client.all(events).length, 2);
  await clock.advance(60_000);
  await scene.settle();
  t.deepEqual(
    client.all(events).map(({ metadata }) => metadata.name),
    ['repeated'],
  );
});
