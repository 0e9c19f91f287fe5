import test, { type ExecutionContext } from 'ava';
import { createScheduler } from '../../../../control-plane/scheduler/scheduler.ts';
import { ApiError, statusFromText } from '../../../../src/kube/errors.ts';
import { nodes, pods } from '../../../../src/kube/resources.ts';
import { createHeartbeats } from '../../../../src/runtime/heartbeat.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { createScene, draftNode, draftPod } from '../controllers/scene.ts';

async function startScheduler(t: ExecutionContext, prepare: (scene: ReturnType<typeof createScene>) => void) {
  const scene = createScene(t);
  prepare(scene);
  const scheduler = createScheduler({}, { ...scene.dependencies, random: () => 0 });
  await scene.start(scheduler);
  const nodeOf = (name: string) => scene.client.peek(pods, `default/${name}`)?.spec.nodeName;
  const scheduled = (name: string) =>
    scene.client.peek(pods, `default/${name}`)?.status?.conditions?.find(({ type }) => type === 'PodScheduled');
  return { ...scene, scheduler, nodeOf, scheduled };
}

const cpu = (amount: string) => ({
  spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: amount } } }] },
});

test('binds a pod and says so', async (t) => {
  const { nodeOf, told, client, settle } = await startScheduler(t, ({ client }) => client.seed(nodes, draftNode('n1')));
  client.seed(pods, draftPod('a'));
  await settle();
  t.is(nodeOf('a'), 'n1');
  t.deepEqual(told, ['Normal Scheduled: Successfully assigned default/a to n1']);
});

test('pods of other schedulers, with gates, finished or deleted are left alone', async (t) => {
  const { nodeOf } = await startScheduler(t, ({ client }) => {
    client.seed(nodes, draftNode('n1'));
    client.seed(pods, draftPod('other', { spec: { schedulerName: 'mine' } }));
    client.seed(pods, draftPod('gated', { spec: { schedulingGates: [{ name: 'x' }] } }));
    client.seed(pods, draftPod('done', { status: { phase: 'Failed' } }));
    client.seed(pods, draftPod('gone', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['x'] } }));
  });
  for (const name of ['other', 'gated', 'done', 'gone']) t.is(nodeOf(name), undefined);
});

test('assumed pods count before the API shows them: a burst does not overfill a node', async (t) => {
  const { client, scheduled, settle } = await startScheduler(t, ({ client }) => {
    client.seed(nodes, draftNode('n1', { allocatable: { cpu: '2' } }));
    client.seed(nodes, draftNode('n2', { allocatable: { cpu: '1' } }));
    for (let index = 0; index < 5; index++) client.seed(pods, draftPod(`p${index}`, cpu('1')));
  });
  await settle();
  const placed = client.all(pods).map((pod) => pod.spec.nodeName);
  t.deepEqual([placed.filter((name) => name === 'n1').length, placed.filter((name) => name === 'n2').length], [2, 1]);
  t.like(scheduled('p4'), {
    status: 'False',
    reason: 'Unschedulable',
    message: '0/2 nodes are available: 2 Insufficient cpu.',
  });
});

test('an unschedulable pod is tried at once when a change makes it fit', async (t) => {
  const { client, nodeOf, told, settle } = await startScheduler(t, ({ client }) => {
    client.seed(pods, draftPod('a', cpu('3')));
  });
  t.deepEqual(told, ['Warning FailedScheduling: no nodes available to schedule pods']);
  client.seed(
    nodes,
    draftNode('n1', { spec: { taints: [{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }] } }),
  );
  await settle();
  t.is(nodeOf('a'), undefined);
  client.edit(nodes, 'n1', ({ spec }) => {
    spec!.taints = [];
  });
  await settle();
  t.is(nodeOf('a'), 'n1', 'no back-off: it is known to fit now');
});

test('room that a deleted pod leaves is used at once', async (t) => {
  const { client, nodeOf, settle } = await startScheduler(t, ({ client }) => {
    client.seed(nodes, draftNode('n1'));
    client.seed(pods, draftPod('first', { spec: { ...cpu('3').spec, nodeName: 'n1' } }));
    client.seed(pods, draftPod('second', cpu('3')));
  });
  t.is(nodeOf('second'), undefined);
  await client.delete(pods, { namespace: 'default', name: 'first', gracePeriodSeconds: 0 });
  await settle();
  t.is(nodeOf('second'), 'n1');
});

test('the message is brought up to date after a back-off when nodes change', async (t) => {
  const { client, scheduled, settle, clock } = await startScheduler(t, ({ client }) => {
    client.seed(pods, draftPod('a', cpu('8')));
  });
  client.seed(nodes, draftNode('n1'));
  await settle();
  t.is(scheduled('a')?.message, 'no nodes available to schedule pods');
  await clock.advance(1000);
  await settle();
  t.is(scheduled('a')?.message, '0/1 nodes are available: 1 Insufficient cpu.');
});

test('a failed binding frees the node and is repeated after a back-off', async (t) => {
  const { nodeOf, told, clock, settle } = await startScheduler(t, ({ client }) => {
    client.seed(nodes, draftNode('n1', { allocatable: { pods: '1' } }));
    client.failNext('create', 'pods', new ApiError(statusFromText(500, 'oops', 'bind')));
    client.seed(pods, draftPod('a'));
  });
  t.is(nodeOf('a'), undefined);
  t.regex(told[0]!, /^Warning FailedScheduling: binding rejected/);
  await clock.advance(1000);
  await settle();
  t.is(nodeOf('a'), 'n1');
});

test('higher priority goes first', async (t) => {
  const { nodeOf } = await startScheduler(t, ({ client }) => {
    client.seed(nodes, draftNode('n1', { allocatable: { pods: '1' } }));
    client.seed(pods, draftPod('low'));
    client.seed(pods, draftPod('high', { spec: { priority: 100 } }));
  });
  t.is(nodeOf('high'), 'n1');
  t.is(nodeOf('low'), undefined);
});

test('attempts and pending pods are measured, the loop beats', async (t) => {
  const scene = createScene(t);
  const metrics = new Registry();
  const heartbeats = createHeartbeats(scene.clock);
  scene.client.seed(nodes, draftNode('n1', { allocatable: { pods: '1' } }));
  for (const name of ['a', 'b']) scene.client.seed(pods, draftPod(name));
  await scene.start(createScheduler({}, { ...scene.dependencies, metrics, heartbeats }));
  const text = await metrics.metrics();
  t.regex(text, /scheduler_schedule_attempts_total\{result="scheduled",profile="default-scheduler"\} 1/);
  t.regex(text, /scheduler_schedule_attempts_total\{result="unschedulable",profile="default-scheduler"\} 1/);
  t.regex(text, /scheduler_pending_pods\{queue="unschedulable"\} 1/);
  await scene.clock.advance(120_000);
  t.deepEqual(heartbeats.overdue(), []);
});

test('a pod that can not be judged does not stop the others', async (t) => {
  const { nodeOf } = await startScheduler(t, ({ client }) => {
    client.seed(nodes, draftNode('n1'));
    client.seed(pods, draftPod('bad', cpu('nonsense')));
    client.seed(pods, draftPod('good'));
  });
  t.is(nodeOf('bad'), undefined);
  t.is(nodeOf('good'), 'n1');
});

test('replicas of one owner spread over nodes', async (t) => {
  const owner = [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'r', uid: 'r', controller: true }];
  const { client, settle } = await startScheduler(t, ({ client }) => {
    for (const name of ['n1', 'n2', 'n3']) client.seed(nodes, draftNode(name));
    for (let index = 0; index < 6; index++)
      client.seed(pods, draftPod(`p${index}`, { metadata: { ownerReferences: owner } }));
  });
  await settle();
  const counts = Map.groupBy(client.all(pods), (pod) => pod.spec.nodeName);
  t.deepEqual(
    [...counts.values()].map((group) => group.length),
    [2, 2, 2],
  );
});
