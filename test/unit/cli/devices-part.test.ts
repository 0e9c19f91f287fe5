import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { NodeResources } from '../../../agent/resources/node-resources.ts';
import { openDevices } from '../../../cli/roots/devices.ts';
import type { Node } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { startDevicePlugin, type TestDevicePlugin } from '../../support/device-plugin.ts';
import { eventually } from '../../support/eventually.ts';
import { podOf } from '../agent/pod.ts';

const R = 'vendor.com/gpu';
const SHARES: NodeResources = {
  cpuMillis: 1000,
  memoryBytes: 1,
  ephemeralStorageBytes: 1,
  pods: 110,
  hugepages: new Map(),
};
const shares = { capacity: SHARES, allocatable: SHARES };
const context = { log: silentLogger, clock: systemClock };

test('devices of a node, put together: resources, admission, a plugin that cannot make up its mind, a restart', async (t) => {
  const rootDir = await mkdtemp('/tmp/berth-unit-devpart-');
  const directory = join(rootDir, 'device-plugins');
  const plugins: TestDevicePlugin[] = [];
  const stops: (() => Promise<void>)[] = [];
  t.teardown(async () => {
    for (const plugin of plugins) plugin.stop();
    for (const stop of stops) await stop();
    // A checkpoint that was on its way when the part ended may still be written.
    await rm(rootDir, { recursive: true, maxRetries: 10, retryDelay: 20 });
  });
  async function start() {
    const devices = await openDevices({ rootDir, numaNodes: [0] }, { registry: new Registry() }, context);
    const stop = new AbortController();
    const running = devices.parts(false)['device plugins']!.run(stop.signal);
    const end = async () => {
      stop.abort();
      await running;
    };
    stops.push(end);
    return { devices, end };
  }

  const { devices, end } = await start();
  t.true(devices.forgotAll());
  let nodeNews = 0;
  const podNews: string[] = [];
  devices.onNodeChange(() => nodeNews++);
  devices.ofContainers({ cdiSpecDirs: [] }).onChange((uid) => podNews.push(uid));
  await eventually('the agent listens', () => existsSync(join(directory, 'kubelet.sock')));
  const plugin = await startDevicePlugin(directory, { resource: R, devices: [{ id: 'a' }, { id: 'b' }] });
  plugins.push(plugin);
  await plugin.register();
  const amounts = () => {
    const { capacity, allocatable } = devices.withDevices(shares);
    return `${capacity.extended?.get(R)}/${allocatable.extended?.get(R)}`;
  };
  await eventually('the devices are on the node', () => amounts() === '2/2');

  const pod = podOf({ containers: [{ name: 'app', image: 'x', resources: { limits: { [R]: '2' } } }] });
  await devices.provider.allocate(pod, pod.spec.containers[0]!, { preferred: false });
  nodeNews = 0;
  const sinceMs = performance.now();
  for (let round = 0; round < 100; round++) {
    plugin.list([{ id: 'a', sick: round % 2 === 0 }, { id: 'b' }]);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await eventually('the last word is told', () => amounts() === '2/2' && podNews.length > 0);
  // At once, then once a second, for as long as it took.
  const seconds = (performance.now() - sinceMs) / 1000;
  t.true(nodeNews <= 2 + seconds, `${nodeNews} times in ${seconds} s, of a hundred`);
  t.deepEqual([...new Set(podNews)], ['uid-1']);

  // What is given out still counts when it is sick, and what somebody else has written on the node does, too.
  plugin.list([
    { id: 'a', sick: true },
    { id: 'b', sick: true },
  ]);
  await eventually('nothing can be given', () => amounts() === '2/0');
  const node = { status: { allocatable: { 'other.com/thing': '3', [R]: '9', cpu: '8', 'a.kubernetes.io/b': '1' } } };
  t.deepEqual(Object.fromEntries(devices.admissible(SHARES, node as never as Node).extended!), {
    'other.com/thing': 3,
    [R]: 2,
  });
  await end();

  const { Data } = JSON.parse(await readFile(join(directory, 'kubelet_internal_checkpoint'), 'utf8'));
  t.is(Data.PodDeviceEntries.length, 1);
  const again = await start();
  t.false(again.devices.forgotAll());
  t.deepEqual(
    again.devices.holdings!.ofContainer('uid-1', 'app').flatMap(({ deviceIds }) => deviceIds),
    ['a', 'b'],
  );
});

test('five minutes after its plugin has gone a resource is shown as 0, and what a pod holds of it stays', async (t) => {
  const rootDir = await mkdtemp('/tmp/berth-unit-devpart-');
  const directory = join(rootDir, 'device-plugins');
  const clock = createFakeClock();
  const devices = await openDevices(
    { rootDir, numaNodes: [] },
    { registry: new Registry() },
    { log: silentLogger, clock },
  );
  const stop = new AbortController();
  const running = devices.parts(false)['device plugins']!.run(stop.signal);
  await eventually('the agent listens', () => existsSync(join(directory, 'kubelet.sock')));
  const plugin = await startDevicePlugin(directory, { resource: R, devices: [{ id: 'a' }] });
  t.teardown(async () => {
    plugin.stop();
    stop.abort();
    await running;
    // A checkpoint that was on its way when the part ended may still be written.
    await rm(rootDir, { recursive: true, maxRetries: 10, retryDelay: 20 });
  });
  await plugin.register();
  const amounts = () => {
    const { capacity, allocatable } = devices.withDevices(shares);
    return `${capacity.extended?.get(R)}/${allocatable.extended?.get(R)}`;
  };
  await eventually('the device is on the node', () => amounts() === '1/1');
  const pod = podOf({ containers: [{ name: 'app', image: 'x', resources: { limits: { [R]: '1' } } }] });
  await devices.provider.allocate(pod, pod.spec.containers[0]!, { preferred: false });
  plugin.stop();
  await eventually('nothing can be given', () => amounts() === '1/0');
  let nodeNews = 0;
  devices.onNodeChange(() => nodeNews++);
  await clock.advance(290_000);
  t.is(amounts(), '1/0');
  nodeNews = 0;
  await clock.advance(20_000);
  t.is(amounts(), '0/0');
  t.is(nodeNews, 1);
  t.is(devices.holdings!.ofContainer('uid-1', 'app').length, 1);
  await t.throwsAsync(devices.ofContainers({ cdiSpecDirs: [] }).prepare(pod, pod.spec.containers[0]!), {
    message: `endpoint not found in cache for a registered resource: ${R}`,
  });
});
