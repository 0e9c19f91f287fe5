/** Device plugins on a node of `berth up`: a plugin of this test's behind the agent's real sockets, a real device in real containers. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'ava';
import { connectGrpc } from '../../src/grpc/client.ts';
import { podResourcesLister } from '../../src/grpc/pod-resources.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { onAgentSocket, startDevicePlugin, type TestDevicePlugin } from '../support/device-plugin.ts';
import { foreignGrpcOrWhyNot } from '../support/foreign-grpc.ts';
import { BUSYBOX, pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);
const story = skip ? test.serial.skip : test.serial;
const named = (title: string) => (skip ? `${title} (${skip})` : title);

const foreign = skip ? { skip } : await foreignGrpcOrWhyNot();

const ROOT = '/var/lib/berth/kubelet';
const GPU = 'vendor.example/gpu';
const CDI = 'vendor.example/cdi';
/** One that no container may open unless it is given it. */
const DEVICE = '/dev/loop-control';
const FOREVER = script('exec sleep 1000000');

let cluster: ClusterHost;
let plugin: TestDevicePlugin;
let cdiPlugin: TestDevicePlugin;
let unwatch = () => {};

if (!skip) {
  test.before(async () => {
    cluster = await createClusterHost('devices');
    await cluster.sh('mkdir -p /opt/vendor /etc/cdi; echo library >/opt/vendor/lib');
    const spec = {
      cdiVersion: '0.6.0',
      kind: CDI,
      containerEdits: { env: ['CDI_VENDOR=example'] },
      devices: [
        {
          name: 'zero',
          containerEdits: { env: ['CDI_DEVICE=zero'], deviceNodes: [{ path: '/dev/cdi-zero', hostPath: '/dev/zero' }] },
        },
        { name: 'hooked', containerEdits: { hooks: [{ hookName: 'createContainer', path: '/bin/true' }] } },
      ],
    };
    await cluster.sh(`echo '${JSON.stringify(spec)}' >/etc/cdi/vendor.json`);
    await cluster.berthOk('up');
    await cluster.loadImages();
    const directory = cluster.host.path(join(ROOT, 'device-plugins'));
    plugin = await startDevicePlugin(directory, {
      resource: GPU,
      devices: [{ id: 'gpu-0' }, { id: 'gpu-1' }, { id: 'gpu-2' }],
      preStart: true,
      prefers: ['gpu-2', 'gpu-1'],
      response: {
        devices: [{ hostPath: DEVICE, containerPath: '/dev/gpu', permissions: 'r' }],
        mounts: [{ hostPath: '/opt/vendor', containerPath: '/usr/vendor', readOnly: true }],
        annotations: { 'vendor.example/note': 'given' },
      },
    });
    await plugin.register();
    cdiPlugin = await startDevicePlugin(directory, {
      resource: CDI,
      devices: [{ id: 'zero' }, { id: 'hooked' }],
      response: { cdiDevices: [{ name: `${CDI}=zero` }] },
    });
    await cdiPlugin.register();
    // As every plugin: a new socket of the agent's is a restarted agent, which has removed those of the plugins.
    unwatch = onAgentSocket(directory, async () => {
      for (const one of [plugin, cdiPlugin]) {
        await one.listenAgain();
        await one.register();
      }
    });
  });
  test.after.always(async () => {
    unwatch();
    plugin?.stop();
    cdiPlugin?.stop();
    await cluster?.close();
  });
}

const asking = (name: string, resource: string, amount: number, spec: object = {}) =>
  pod(name, { ...FOREVER, resources: { limits: { [resource]: String(amount) } } }, spec);
const get = (name: string) => cluster.get<Pod>('pod', name);
const running = (name: string) =>
  until(`${name} runs`, async () => {
    const found = await get(name);
    if (found.status?.containerStatuses?.[0]?.state?.running) return found;
    throw new Error(JSON.stringify(found.status));
  }).catch((error) => Promise.reject(new Error(`${error.message}: ${error.cause?.message}`)));
const scheduled = (found: Pod) => found.status?.conditions?.find(({ type }) => type === 'PodScheduled');
async function nodeHas(capacity: number, allocatable: number, resource = GPU): Promise<void> {
  await until(`the node has ${capacity}, and gives ${allocatable} of ${resource}`, async () => {
    const { status } = (await cluster.list<Node>('nodes'))[0]!;
    return status?.capacity?.[resource] === String(capacity) && status.allocatable?.[resource] === String(allocatable);
  });
}

story(named('what a plugin lists is on the node, and containers get what it answers'), async (t) => {
  await nodeHas(3, 3);
  await cluster.apply(asking('two', GPU, 2));
  const found = await running('two');
  const { code, output } = await cluster.inPod(
    'two',
    `echo $TEST_DEVICES; cat /usr/vendor/lib; touch /usr/vendor/x 2>&1; (exec 3</dev/gpu) && echo open; (exec 3<>/dev/gpu) 2>&1; ls -l /dev/gpu`,
  );
  t.is(code, 0);
  t.regex(output, /^gpu-1,gpu-2\nlibrary\n/);
  t.regex(output, /Read-only file system/);
  t.regex(output, /^open$/m);
  t.regex(output, /Operation not permitted/);
  t.regex(output, /^c.* 10, 237 .*\/dev\/gpu$/m);
  t.deepEqual(found.status!.containerStatuses![0]!.allocatedResourcesStatus, [
    {
      name: GPU,
      resources: [
        { resourceID: 'gpu-1', health: 'Healthy' },
        { resourceID: 'gpu-2', health: 'Healthy' },
      ],
    },
  ]);
  t.deepEqual(
    plugin.calls.map(({ method }) => method),
    ['GetDevicePluginOptions', 'GetPreferredAllocation', 'Allocate', 'PreStartContainer'],
  );
  const id = found.status!.containerStatuses![0]!.containerID!.replace('docker://', '');
  t.is((await cluster.engine().inspectContainer(id)).labels['annotation.vendor.example/note'], 'given');
});

story(named('the scheduler counts them, and what no node has'), async (t) => {
  await cluster.apply(asking('late', GPU, 2), asking('strange', 'nobody.example/thing', 1));
  for (const [name, resource] of [
    ['late', GPU],
    ['strange', 'nobody.example/thing'],
  ] as const)
    await until(`${name} is told why it waits`, async () =>
      scheduled(await get(name))?.message?.includes(`Insufficient ${resource}`),
    );
  await cluster.kubectl('delete', 'pod', 'strange', '--wait=false');
  // Other cores of the pod's life: one that asks for a single device fits beside.
  await cluster.apply(asking('one', GPU, 1));
  await running('one');
  t.regex((await cluster.inPod('one', 'echo $TEST_DEVICES')).output, /^gpu-0$/m);
});

story(named('pods that come past the scheduler are refused for what there is not'), async (t) => {
  const [{ metadata }] = (await cluster.list<Node>('nodes')) as [Node];
  await cluster.apply(asking('forced', GPU, 1, { nodeName: metadata.name }));
  const found = await until('it is refused', async () => {
    const one = await get('forced');
    return one.status?.phase === 'Failed' ? one : undefined;
  });
  t.is(found.status!.reason, 'UnexpectedAdmissionError');
  t.is(
    found.status!.message,
    `Pod was rejected: Allocate failed due to requested number of devices unavailable for ${GPU}. Requested: 1, Available: 0, which is unexpected`,
  );
  // Of a resource that this node knows nothing of it is not for the node to judge.
  await cluster.apply(asking('unknown', 'nobody.example/thing', 1, { nodeName: metadata.name }));
  await running('unknown');
  await cluster.kubectl('delete', 'pod', 'forced', 'unknown', '--wait=false');
});

story(named('the pod resources API tells who has which'), async (t) => {
  const client = connectGrpc(cluster.host.path(join(ROOT, 'pod-resources/kubelet.sock')));
  t.teardown(() => client.close());
  const call = { timeoutMs: 10_000 };
  const { podResources } = await client.call(podResourcesLister.list, {}, call);
  const of = (name: string) =>
    podResources.find((one) => one.name === name)!.containers[0]!.devices.flatMap(({ deviceIds }) => deviceIds);
  t.deepEqual(of('two'), ['gpu-1', 'gpu-2']);
  t.deepEqual(of('one'), ['gpu-0']);
  const one = await client.call(podResourcesLister.get, { podName: 'one', podNamespace: 'default' }, call);
  t.is(one.podResources!.containers[0]!.devices[0]!.resourceName, GPU);
  const { devices } = await client.call(podResourcesLister.getAllocatableResources, {}, call);
  t.is(devices.filter(({ resourceName }) => resourceName === GPU).length, 3);
});

story(named('a device that falls ill is told of, and given to nobody'), async (t) => {
  plugin.list([{ id: 'gpu-0' }, { id: 'gpu-1', sick: true }, { id: 'gpu-2' }]);
  await nodeHas(3, 2);
  await until('the pod that has it says so', async () => {
    const [held] = (await get('two')).status?.containerStatuses?.[0]?.allocatedResourcesStatus ?? [];
    return held?.resources?.some(({ resourceID, health }) => resourceID === 'gpu-1' && health === 'Unhealthy');
  });
  plugin.list([{ id: 'gpu-0' }, { id: 'gpu-1' }, { id: 'gpu-2' }]);
  await nodeHas(3, 3);
  t.is((await get('two')).status?.containerStatuses?.[0]?.restartCount, 0);
});

story(named('the agent is killed and comes back: everybody keeps what he has, plugins register again'), async (t) => {
  const before = [await get('one'), await get('two')].map(({ status }) => status!.containerStatuses![0]!.containerID);
  plugin.calls.length = 0;
  await cluster.sh('kill -KILL $(cat /run/berth/berth.pid)');
  const checkpoint = JSON.parse(
    await readFile(cluster.host.path(join(ROOT, 'device-plugins/kubelet_internal_checkpoint')), 'utf8'),
  );
  t.is(checkpoint.Data.PodDeviceEntries.length, 2);
  await cluster.berthOk('up');
  await until('the plugin has registered again', async () => plugin.calls.length > 0);
  await nodeHas(3, 3);
  t.deepEqual(
    [await get('one'), await get('two')].map(({ status }) => status!.containerStatuses![0]!.containerID),
    before,
  );
  t.false(plugin.calls.some(({ method }) => method === 'Allocate'));
  // A container that starts again starts on its devices.
  await cluster.sh(`kill -KILL ${(await cluster.engine().inspectContainer(before[0]!.replace('docker://', ''))).pid}`);
  await until('it has started again', async () => {
    const [container] = (await get('one')).status?.containerStatuses ?? [];
    return container?.restartCount === 1 && container.state?.running;
  });
  t.regex((await cluster.inPod('one', 'echo $TEST_DEVICES')).output, /^gpu-0$/m);
  t.deepEqual(plugin.calls.at(-1), { method: 'PreStartContainer', ids: ['gpu-0'] });
  // Nothing is free before somebody goes.
  t.is((await get('late')).status?.phase, 'Pending');
  await cluster.kubectl('delete', 'pod', 'two');
  await running('late');
  t.regex((await cluster.inPod('late', 'echo $TEST_DEVICES')).output, /^gpu-1,gpu-2$/m);
  t.deepEqual(plugin.calls.at(-1), { method: 'PreStartContainer', ids: ['gpu-1', 'gpu-2'] });
});

story(named('a plugin that refuses: the pod fails, and no device stays with it'), async (t) => {
  await cluster.kubectl('delete', 'pod', 'late', 'one');
  plugin.fail('Allocate', 'not in the mood');
  await cluster.apply(asking('refused', GPU, 1));
  const found = await until('it has failed', async () => {
    const one = await get('refused');
    return one.status?.phase === 'Failed' ? one : undefined;
  });
  t.is(found.status!.reason, 'UnexpectedAdmissionError');
  t.regex(found.status!.message!, /Allocate failed due to rpc error: code = FailedPrecondition desc = not in the mood/);
  plugin.fail('Allocate', undefined);
  plugin.fail('PreStartContainer', 'still warming up');
  await cluster.apply(asking('all', GPU, 3));
  await until('it waits for the plugin', async () => {
    const waiting = (await get('all')).status?.containerStatuses?.[0]?.state?.waiting;
    return waiting?.reason === 'CreateContainerConfigError' && waiting.message?.includes('still warming up');
  });
  plugin.fail('PreStartContainer', undefined);
  // News of its devices has the pod tried again at once.
  plugin.list([{ id: 'gpu-0', sick: true }, { id: 'gpu-1' }, { id: 'gpu-2' }]);
  await running('all');
});

story(named('CDI devices come into containers, also of an Engine that knows none'), async (t) => {
  await nodeHas(2, 2, CDI);
  await cluster.apply(asking('cdi', CDI, 1));
  await running('cdi');
  const { output } = await cluster.inPod('cdi', 'echo $CDI_VENDOR $CDI_DEVICE; head -c 3 /dev/cdi-zero | od -An -tx1');
  t.is(output, 'example zero\n 00 00 00\n');
});

const full = 'skip' in foreign ? test.serial.skip : story;
full(
  'skip' in foreign
    ? `a plugin and a client of another gRPC (${foreign.skip})`
    : named('a plugin and a client of another gRPC'),
  async (t) => {
    if ('skip' in foreign) return;
    const resource = 'vendor.example/foreign';
    const peer = foreign.start(cluster.host.path(ROOT), resource);
    t.teardown(() => peer.kill());
    const said: string[] = [];
    createInterface(peer.stdout!).on('line', (line) => said.push(line));
    await nodeHas(2, 1, resource);
    t.deepEqual(said, [
      'refused UNKNOWN requested API version "v1" is not supported by kubelet. Supported version is ["v1beta1"]',
      'registered',
    ]);
    await cluster.apply(asking('foreign', resource, 1));
    await running('foreign');
    t.is((await cluster.inPod('foreign', 'echo $FOREIGN')).output, 'yes\n');
    // ContainerRequests[0].devices_ids[0]: x
    t.is(said.at(-1), 'allocate 0a030a0178');
    peer.stdin!.write('foreign\nnobody\n');
    await until('both answers', async () => said.length === 5);
    const entry = `${message(1, resource)}${message(2, 'x')}1a040a020801`;
    const container = `${message(1, 'main')}12${length(entry)}${entry}`;
    const holds = `${message(1, 'foreign')}${message(2, 'default')}1a${length(container)}${container}`;
    t.is(said[3], `holds 0a${length(holds)}${holds}`);
    t.is(said[4], 'error UNKNOWN pod nobody in namespace default not found');
  },
);

const length = (hex: string) => (hex.length / 2).toString(16).padStart(2, '0');
/** A text field of a protobuf message, as hexadecimal digits. */
function message(number: number, text: string): string {
  const hex = Buffer.from(text).toString('hex');
  return `${((number << 3) | 2).toString(16).padStart(2, '0')}${length(hex)}${hex}`;
}

story(named('a plugin that goes leaves its resource without anything to give'), async (t) => {
  cdiPlugin.stop();
  await nodeHas(2, 0, CDI);
  t.is((await get('cdi')).status?.phase, 'Running');
  t.like((await get('cdi')).status!.containerStatuses![0], { image: BUSYBOX });
  const key = '/var/lib/berth/pki/apiserver-kubelet-client';
  const metrics = await cluster.sh(`curl -sSfk --cert ${key}.crt --key ${key}.key https://127.0.0.1:10250/metrics`);
  t.regex(metrics, /^kubelet_device_plugin_registration_total\{resource_name="vendor\.example\/cdi"\} 1$/m);
  t.regex(
    metrics,
    /^kubelet_device_plugin_alloc_duration_seconds_count\{resource_name="vendor\.example\/gpu"\} [1-9]/m,
  );
  t.regex(metrics, /^# TYPE kubelet_pod_resources_endpoint_requests_total counter$/m);
});
