import test, { type ExecutionContext } from 'ava';
import { createControllers } from '../../../control-plane/controllers/controllers.ts';
import { createScheduler } from '../../../control-plane/scheduler/scheduler.ts';
import { createEventRecorder } from '../../../src/kube/events.ts';
import { createInformerSet } from '../../../src/kube/informer.ts';
import {
  configMaps,
  deployments,
  endpointSlices,
  events,
  leases,
  namespaces,
  nodes,
  objectKey,
  pods,
  type Resource,
  replicaSets,
  secrets,
  serviceAccounts,
  services,
} from '../../../src/kube/resources.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { startTestControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';

const clock = systemClock;
const log = silentLogger;
const RESOURCES = [
  pods,
  services,
  endpointSlices,
  nodes,
  namespaces,
  configMaps,
  secrets,
  serviceAccounts,
  events,
  leases,
  deployments,
  replicaSets,
] as Resource[];

/** API server, controllers and scheduler with the identities that they have in a cluster, and one node that runs all pods at once. */
async function startCluster(t: ExecutionContext) {
  const server = await startTestControlPlane();
  const abort = new AbortController();
  const running: Promise<void>[] = [];
  t.teardown(async () => {
    abort.abort();
    await Promise.all(running);
    await server.stop();
  });
  const client = await server.admin();
  const managerClient = await server.client('system:kube-controller-manager');
  const schedulerClient = await server.client('system:kube-scheduler');
  const managerInformers = createInformerSet(managerClient, { log, clock });
  const schedulerInformers = createInformerSet(schedulerClient, { log, clock });
  const informers = createInformerSet(client, { log, clock });
  const controllers = createControllers(
    { resources: RESOURCES, clusterCidr: '10.244.0.0/16' },
    { client: managerClient, informers: managerInformers, log, clock },
  );
  const scheduler = createScheduler(
    {},
    {
      client: schedulerClient,
      informers: schedulerInformers,
      log,
      clock,
      events: createEventRecorder({ client: schedulerClient, component: 'default-scheduler', log, clock }),
    },
  );
  const cache = {
    pods: informers.informer(pods),
    deployments: informers.informer(deployments),
    replicaSets: informers.informer(replicaSets),
    slices: informers.informer(endpointSlices),
    nodes: informers.informer(nodes),
  };
  await server.createNamespaces('default');
  for (const part of [managerInformers, schedulerInformers, informers, controllers, scheduler])
    running.push(part.run(abort.signal));
  await informers.synced();

  await client.create(nodes, { metadata: { name: 'n1' }, spec: {} });
  await eventually('podCIDR', () => cache.nodes.get('n1')?.spec?.podCIDR === '10.244.0.0/24');
  const time = new Date().toISOString().replace(/\.\d+/, '');
  const ready = { type: 'Ready', status: 'True' as const, lastHeartbeatTime: time, lastTransitionTime: time };
  const allocatable = { cpu: '4', memory: '8Gi', pods: '110' };
  const status = { capacity: allocatable, allocatable, conditions: [ready] };
  await client.patch(nodes, { name: 'n1', subresource: 'status', type: 'strategic', patch: { status } });
  for (;;) {
    if ((await client.list(serviceAccounts, { namespace: 'default' })).items.length > 0) break;
    await clock.sleep(5);
  }

  let address = 2;
  const runPod = async (key: string) => {
    const pod = cache.pods.get(key);
    if (!pod?.spec.nodeName) return;
    const { namespace, name, uid } = pod.metadata;
    if (pod.metadata.deletionTimestamp)
      await client.delete(pods, { namespace, name, uid, gracePeriodSeconds: 0 }).catch(() => {});
    else if (pod.status?.phase !== 'Running') {
      const podIP = `10.244.0.${address++}`;
      const condition = { type: 'Ready', status: 'True' as const, lastTransitionTime: time };
      const conditions = [...(pod.status?.conditions ?? []), condition];
      const status = { ...pod.status, phase: 'Running' as const, podIP, podIPs: [{ ip: podIP }], conditions };
      await client.replace(pods, { ...pod, status }, { subresource: 'status' }).catch(() => {});
    }
  };
  const onPod = (pod: { metadata: { name: string; namespace?: string } }) => void runPod(objectKey(pod));
  cache.pods.subscribe({ added: onPod, updated: (_, pod) => onPod(pod) });
  return { client, cache };
}

const LABELS = { app: 'web' };
const template = (image: string) => ({ metadata: { labels: LABELS }, spec: { containers: [{ name: 'c', image }] } });

test('a Deployment lives its whole life on the real API: rollout, scale, undo, history, deletion', async (t) => {
  const { client, cache } = await startCluster(t);
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

test('a pod is bound within milliseconds of its creation', async (t) => {
  const { client, cache } = await startCluster(t);
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
  // Ten times what it takes on an idle machine: this must not fail because others use the CPU.
  t.true(took[10]! < 200);
});

test('a namespace with a workload goes away whole', async (t) => {
  const { client, cache } = await startCluster(t);
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
    await clock.sleep(50);
  }
  t.is(cache.pods.list().length, 0);
});
