import test from 'ava';
import { createReplicaSetController } from '../../../../control-plane/controllers/replicaset.ts';
import { ApiError, statusFromText } from '../../../../src/kube/errors.ts';
import { pods, replicaSets } from '../../../../src/kube/resources.ts';
import { createScene, draftPod, draftReplicaSet, runPods } from './scene.ts';

test('creates owned pods of its template, once, and counts them', async (t) => {
  const scene = createScene(t);
  scene.client.seed(replicaSets, draftReplicaSet(5));
  await scene.start(createReplicaSetController(scene.dependencies));
  const made = scene.client.all(pods);
  t.is(made.length, 5);
  t.like(made[0]!.metadata.ownerReferences?.[0], {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    name: 'web',
    controller: true,
    blockOwnerDeletion: true,
  });
  t.true(made[0]!.metadata.name.startsWith('web-'));
  t.is(scene.client.writes.filter((write) => write === 'create pods').length, 5, 'a lagging copy makes no extra pods');
  runPods(scene.client);
  await scene.settle();
  t.like(scene.client.peek(replicaSets, 'default/web')!.status, {
    replicas: 5,
    readyReplicas: 5,
    availableReplicas: 5,
    fullyLabeledReplicas: 5,
    observedGeneration: 1,
  });
  t.is(scene.told.length, 5);
  t.regex(scene.told[0]!, /^Normal SuccessfulCreate: Created pod: web-/);
});

test('scales down, the pods that are worth least first, and replaces lost pods', async (t) => {
  const scene = createScene(t);
  scene.client.seed(replicaSets, draftReplicaSet(3));
  await scene.start(createReplicaSetController(scene.dependencies));
  runPods(scene.client);
  const [first] = scene.client.all(pods);
  scene.client.edit(pods, `default/${first!.metadata.name}`, (pod) => {
    pod.status!.conditions = [];
  });
  await scene.settle();
  scene.client.edit(replicaSets, 'default/web', (replicaSet) => {
    replicaSet.spec.replicas = 2;
  });
  await scene.settle();
  t.is(scene.client.peek(pods, `default/${first!.metadata.name}`), undefined, 'the one that was not ready went');
  await scene.client.delete(pods, { namespace: 'default', name: scene.client.all(pods)[0]!.metadata.name });
  await scene.settle();
  t.is(scene.client.all(pods).length, 2);
});

test('adopts matching orphans, releases pods that no longer match, leaves finished ones', async (t) => {
  const scene = createScene(t);
  scene.client.seed(pods, draftPod('orphan', { ready: true }));
  scene.client.seed(pods, draftPod('other', { labels: { app: 'other' } }));
  scene.client.seed(pods, draftPod('done', { status: { phase: 'Succeeded' } }));
  const owner = scene.client.seed(replicaSets, draftReplicaSet(1));
  await scene.start(createReplicaSetController(scene.dependencies));
  const orphan = () => scene.client.peek(pods, 'default/orphan')!;
  t.is(orphan().metadata.ownerReferences?.[0]?.uid, owner.metadata.uid);
  t.is(scene.client.peek(pods, 'default/other')!.metadata.ownerReferences, undefined);
  t.is(scene.client.peek(pods, 'default/done')!.metadata.ownerReferences, undefined);
  t.is(scene.client.all(pods).length, 3);
  scene.client.edit(pods, 'default/orphan', (pod) => {
    pod.metadata.labels = { app: 'quarantine' };
  });
  await scene.settle();
  t.deepEqual(orphan().metadata.ownerReferences, []);
  t.is(scene.client.all(pods).length, 4, 'a replacement was made');
});

test('a refused pod is a condition, an event and a retry; batches start slowly', async (t) => {
  const scene = createScene(t);
  scene.client.seed(replicaSets, draftReplicaSet(4));
  const refusal = new ApiError(statusFromText(403, 'quota', 'pods'));
  for (let tries = 0; tries < 2; tries++) scene.client.failNext('create', 'pods', refusal);
  const { clock } = scene;
  await scene.start(createReplicaSetController(scene.dependencies));
  t.is(scene.client.writes.filter((write) => write === 'create pods').length, 2, 'one a try, not four');
  t.like(scene.client.peek(replicaSets, 'default/web')!.status?.conditions?.[0], {
    type: 'ReplicaFailure',
    status: 'True',
    reason: 'FailedCreate',
  });
  t.regex(scene.told[0]!, /^Warning FailedCreate: Error creating: /);
  await clock.advance(100);
  await scene.settle();
  t.is(scene.client.all(pods).length, 4);
  t.is(scene.client.peek(replicaSets, 'default/web')!.status?.conditions, undefined);
});

test('minReadySeconds: ready pods become available by time alone', async (t) => {
  const scene = createScene(t);
  const draft = draftReplicaSet(1);
  scene.client.seed(replicaSets, { ...draft, spec: { ...draft.spec, minReadySeconds: 10 } });
  await scene.start(createReplicaSetController(scene.dependencies));
  runPods(scene.client);
  await scene.settle();
  const status = () => scene.client.peek(replicaSets, 'default/web')!.status!;
  t.is(status().readyReplicas, 1);
  t.is(status().availableReplicas, 0);
  await scene.clock.advance(10_000);
  await scene.settle();
  t.is(status().availableReplicas, 1);
});

test('a ReplicaSet that is being deleted makes and adopts nothing', async (t) => {
  const scene = createScene(t);
  scene.client.seed(replicaSets, draftReplicaSet(2, { finalizers: ['x'], deletionTimestamp: '2026-01-01T00:00:00Z' }));
  scene.client.seed(pods, draftPod('orphan'));
  await scene.start(createReplicaSetController(scene.dependencies));
  t.is(scene.client.all(pods).length, 1);
  t.is(scene.client.all(pods)[0]!.metadata.ownerReferences, undefined);
});

test('it goes on after the watch history was compacted', async (t) => {
  const scene = createScene(t);
  scene.client.seed(replicaSets, draftReplicaSet(1));
  await scene.start(createReplicaSetController(scene.dependencies));
  scene.client.edit(replicaSets, 'default/web', (replicaSet) => {
    replicaSet.spec.replicas = 3;
  });
  scene.client.compact();
  await scene.settle();
  await scene.clock.advance(1000);
  await scene.settle();
  t.is(scene.client.all(pods).length, 3);
});
