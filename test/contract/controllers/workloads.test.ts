import test from 'ava';
import { deployments, namespaces, pods, services } from '../../../src/kube/resources.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { eventually } from '../../support/eventually.ts';
import { startWorkloadCluster } from '../../support/workload-cluster.ts';

const LABELS = { app: 'web' };
const template = (image: string) => ({ metadata: { labels: LABELS }, spec: { containers: [{ name: 'c', image }] } });

test('a Deployment lives its whole life on the real API: rollout, scale, undo, history, deletion', async (t) => {
  const { client, cache } = await startWorkloadCluster(t);
  const isDone = (replicas: number) => () => {
    const { status, metadata } = cache.deployments.get('default/web') ?? {};
    return (
      status?.observedGeneration === metadata?.generation &&
      [status?.replicas, status?.updatedReplicas, status?.availableReplicas].every((count) => count === replicas) &&
      Boolean(status?.conditions?.some(({ reason }) => reason === 'NewReplicaSetAvailable'))
    );
  };
  const made = await client.create(deployments, {
    metadata: { name: 'web', namespace: 'default' },
    spec: { replicas: 3, selector: { matchLabels: LABELS }, template: template('web:1') },
  });
  await client.create(services, {
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: LABELS, ports: [{ port: 80, targetPort: 8080 }] } as never,
  });
  await eventually('the first rollout', isDone(3));
  await eventually('three ready endpoints', () => {
    const ready = cache.slices.list().flatMap(({ endpoints }) => endpoints ?? []);
    return ready.length === 3 && ready.every(({ conditions }) => conditions?.ready);
  });

  const patch = (spec: object) =>
    client.patch(deployments, { namespace: 'default', name: 'web', type: 'merge', patch: { spec } });
  await patch({ template: template('web:2') });
  await eventually('the second rollout', isDone(3));
  t.true(cache.pods.list().every(({ spec }) => spec.containers[0]!.image === 'web:2'));
  await patch({ replicas: 5 });
  await eventually('five replicas', isDone(5));
  await patch({ template: template('web:1') });
  await eventually('the undo', isDone(5));
  const revisions = cache.replicaSets
    .list()
    .map(({ metadata, spec }) => [metadata.annotations?.['deployment.kubernetes.io/revision'], spec.replicas]);
  t.deepEqual(revisions.sort(), [
    ['2', 0],
    ['3', 5],
  ]);

  await client.delete(deployments, {
    namespace: 'default',
    name: 'web',
    propagationPolicy: 'Foreground',
    uid: made.metadata.uid,
  });
  await eventually('everything is collected', () =>
    [cache.deployments, cache.replicaSets, cache.pods].every((informer) => informer.list().length === 0),
  );
  await client.delete(services, { namespace: 'default', name: 'web' });
  await eventually('its slices too', () => cache.slices.list().length === 0);
});

test('a pod is bound by the event of its creation: no time has to pass', async (t) => {
  const { client, cache } = await startWorkloadCluster(t, createFakeClock());
  const took: number[] = [];
  for (let index = 0; index < 20; index++) {
    const start = performance.now();
    const bound = new Promise<void>((resolve) => {
      const stop = cache.pods.subscribe({
        updated: (_, pod) => {
          if (pod.metadata.name !== `p${index}` || !pod.spec.nodeName) return;
          stop();
          resolve();
        },
      });
    });
    await client.create(pods, {
      metadata: { name: `p${index}`, namespace: 'default' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    await bound;
    took.push(performance.now() - start);
  }
  took.sort((a, b) => a - b);
  t.log(`create → bound seen by a watch: p50 ${took[10]!.toFixed(1)} ms, max ${took[19]!.toFixed(1)} ms`);
  t.is(took.length, 20);
});

test('a namespace with a workload goes away whole', async (t) => {
  const { client, cache } = await startWorkloadCluster(t);
  await client.create(namespaces, { metadata: { name: 'doomed' }, spec: {} });
  await client.create(deployments, {
    metadata: { name: 'web', namespace: 'doomed' },
    spec: { replicas: 2, selector: { matchLabels: LABELS }, template: template('web:1') },
  });
  await eventually(
    'two pods',
    () => cache.pods.list().filter(({ status }) => status?.phase === 'Running').length === 2,
  );
  await client.delete(namespaces, { name: 'doomed' });
  const isGone = async () => {
    const { items } = await client.list(namespaces);
    return !items.some(({ metadata }) => metadata.name === 'doomed');
  };
  const deadline = performance.now() + 15_000;
  while (!(await isGone())) {
    if (performance.now() > deadline) {
      const left = await client.get(namespaces, { name: 'doomed' });
      return t.fail(JSON.stringify(left.status));
    }
    await systemClock.sleep(50);
  }
  t.is(cache.pods.list().length, 0);
});
