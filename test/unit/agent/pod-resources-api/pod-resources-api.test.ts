import { mkdtemp, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Holdings } from '../../../../agent/pod-resources-api/answers.ts';
import { createPodResourcesApi } from '../../../../agent/pod-resources-api/server.ts';
import { connectGrpc } from '../../../../src/grpc/client.ts';
import { podResourcesLister, podResourcesListerV1alpha1 } from '../../../../src/grpc/pod-resources.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { podOf } from '../pod.ts';

const device = (id: string, node?: number) => ({
  resourceName: 'vendor.com/gpu',
  deviceIds: [id],
  topology: node === undefined ? undefined : { nodes: [{ id: node }] },
});
const memory = (size: number) => ({ memoryType: 'memory', size, topology: { nodes: [{ id: 0 }] } });

const HOLDINGS: Holdings = {
  devices: {
    ofContainer: (uid, container) => (uid === 'uid-1' && container === 'app' ? [device('a', 0), device('b')] : []),
    allocatable: () => [device('a', 0), device('b'), device('c')],
  },
  cpus: {
    ofContainer: (_, container) => (container === 'side' ? new Set([130, 3]) : []),
    allocatable: () => [2, 1, 130, 3],
  },
  memory: { ofContainer: (_, name) => (name === 'app' ? [memory(2 ** 40)] : []), allocatable: () => [memory(1)] },
};

async function setUp(t: ExecutionContext, pods: Pod[], holdings = HOLDINGS) {
  const base = await mkdtemp('/tmp/berth-unit-podres-');
  const socketPath = join(base, 'pod-resources/kubelet.sock');
  const registry = new Registry();
  const clock = createFakeClock();
  const get = (namespace: string, name: string) =>
    pods.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name);
  const api = createPodResourcesApi({ socketPath }, { pods: { list: () => pods, get }, holdings, registry, clock });
  await api.listen();
  const client = connectGrpc(socketPath);
  t.teardown(async () => {
    client.close();
    await api.close();
    await rm(base, { recursive: true });
  });
  const call = { timeoutMs: 5000 };
  return {
    socketPath,
    clock,
    list: () => client.call(podResourcesLister.list, {}, call),
    listV1alpha1: () => client.call(podResourcesListerV1alpha1.list, {}, call),
    allocatable: () => client.call(podResourcesLister.getAllocatableResources, {}, call),
    get: (podNamespace: string, podName: string) =>
      client.call(podResourcesLister.get, { podName, podNamespace }, call),
    async metric(name: string) {
      const found = (await registry.getMetricsAsJSON()).find((one) => one.name === name);
      return found?.values.map(({ labels, value }) => `${labels['server_api_version']} ${value}`);
    },
  };
}

const POD = podOf({
  initContainers: [
    { name: 'setup', image: 'x' },
    { name: 'side', image: 'x', restartPolicy: 'Always' },
  ],
  containers: [{ name: 'app', image: 'x' }],
});

test('what containers have: sidecars and regular ones of pods that are not over, to root alone', async (t) => {
  const over = { ...podOf({}, { name: 'done', uid: 'uid-2' }), status: { phase: 'Succeeded' } } as Pod;
  const api = await setUp(t, [POD, over]);
  t.is((await stat(api.socketPath)).mode & 0o777, 0o600);
  const pod = {
    name: 'web',
    namespace: 'default',
    containers: [
      { name: 'side', devices: [], cpuIds: [3, 130], memory: [] },
      { name: 'app', devices: [device('a', 0), device('b')], cpuIds: [], memory: [memory(2 ** 40)] },
    ],
  };
  t.deepEqual(await api.list(), { podResources: [pod] });
  t.deepEqual(await api.get('default', 'web'), { podResources: pod });
  t.deepEqual(await api.allocatable(), {
    devices: [device('a', 0), device('b'), device('c')],
    cpuIds: [1, 2, 3, 130],
    memory: [memory(1)],
  });
  const first = (await api.listV1alpha1()).podResources[0]!.containers[1];
  t.deepEqual(first, {
    name: 'app',
    devices: [
      { resourceName: 'vendor.com/gpu', deviceIds: ['a'] },
      { resourceName: 'vendor.com/gpu', deviceIds: ['b'] },
    ],
  });
  await t.throwsAsync(api.get('other', 'web'), {
    message: 'rpc error: code = Unknown desc = pod web in namespace other not found',
  });
  const prefix = 'kubelet_pod_resources_endpoint';
  t.deepEqual((await api.metric(`${prefix}_requests_total`))!.sort(), ['v1 4', 'v1alpha1 1']);
  t.deepEqual((await api.metric(`${prefix}_requests_list`))!.sort(), ['v1 1', 'v1alpha1 1']);
  t.deepEqual(await api.metric(`${prefix}_requests_get_allocatable`), ['v1 1']);
  t.deepEqual(await api.metric(`${prefix}_requests_get`), ['v1 2']);
  t.deepEqual(await api.metric(`${prefix}_errors_get`), ['v1 1']);
});

test('a node that gives out nothing answers all the same', async (t) => {
  const api = await setUp(t, [podOf()], {});
  t.deepEqual(await api.list(), {
    podResources: [
      { name: 'web', namespace: 'default', containers: [{ name: 'app', devices: [], cpuIds: [], memory: [] }] },
    ],
  });
  t.deepEqual(await api.allocatable(), { devices: [], cpuIds: [], memory: [] });
});

test('ten requests at once, a hundred a second; more are refused', async (t) => {
  const { list, clock } = await setUp(t, []);
  const burst = await Promise.allSettled(Array.from({ length: 12 }, list));
  t.is(burst.filter(({ status }) => status === 'fulfilled').length, 10);
  await t.throwsAsync(list(), { message: 'rpc error: code = ResourceExhausted desc = rejected by rate limit' });
  await clock.advance(20);
  const after = await Promise.allSettled(Array.from({ length: 3 }, list));
  t.is(after.filter(({ status }) => status === 'fulfilled').length, 2);
});
