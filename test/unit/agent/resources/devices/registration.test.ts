import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createPluginWatcher } from '../../../../../agent/plugins/plugin-watcher.ts';
import { createInventory } from '../../../../../agent/resources/devices/inventory.ts';
import { createDeviceMetrics } from '../../../../../agent/resources/devices/metrics.ts';
import { createPluginSessions } from '../../../../../agent/resources/devices/plugin-sessions.ts';
import {
  checkRegistration,
  createDevicePluginHandler,
  createDeviceRegistration,
} from '../../../../../agent/resources/devices/registration.ts';
import { systemClock } from '../../../../../src/runtime/clock.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { Registry } from '../../../../../src/runtime/metrics.ts';
import { announceDevicePlugin, startDevicePlugin } from '../../../../support/device-plugin.ts';
import { until } from '../../fake-agent.ts';

const R = 'vendor.com/gpu';
const log = silentLogger;

async function setUp(t: ExecutionContext) {
  const base = await mkdtemp('/tmp/berth-unit-devplug-');
  const directory = join(base, 'device-plugins');
  const inventory = createInventory({ clock: systemClock });
  const changes: string[] = [];
  const sessions = createPluginSessions({
    inventory,
    onChange: (resource, ids) => changes.push(`${resource} ${ids.join(',')}`),
    log,
  });
  const registry = new Registry();
  const deps = { sessions, metrics: createDeviceMetrics(registry), log };
  const registration = createDeviceRegistration(directory, deps);
  t.teardown(async () => {
    await registration.stop();
    await sessions.closeAll();
    await rm(base, { recursive: true, force: true });
  });
  const amounts = () => [inventory.amounts().capacity.get(R), inventory.amounts().allocatable.get(R)].join('/');
  return { base, directory, inventory, changes, sessions, registry, deps, registration, amounts };
}

test('a plugin registers, lists its devices, changes them, goes away and comes back', async (t) => {
  const { directory, registration, inventory, changes, registry, amounts } = await setUp(t);
  await registration.start();
  const plugin = await startDevicePlugin(directory, { resource: R, devices: [{ id: 'a' }, { id: 'b', sick: true }] });
  t.teardown(() => plugin.stop());
  await plugin.register();
  await until('the devices are listed', () => amounts() === '2/1');
  t.deepEqual(changes, [`${R} a,b`]);
  plugin.list([{ id: 'a' }, { id: 'b' }, { id: 'c', numaNodes: [1] }]);
  await until('the new list is here', () => amounts() === '3/3');
  t.deepEqual(inventory.devices(R).get('c'), { isHealthy: true, numaNodes: [1] });
  t.deepEqual(changes.slice(1), [`${R} b,c`]);

  const { connection } = inventory.plugin(R)!;
  t.like(await connection.allocate(['a', 'b']), { envs: { TEST_DEVICES: 'a,b' } });
  plugin.fail('Allocate', 'on fire');
  await t.throwsAsync(connection.allocate(['a']), {
    message: 'rpc error: code = FailedPrecondition desc = on fire',
  });
  await connection.preStart(['a']);
  t.deepEqual(plugin.calls.at(-1), { method: 'PreStartContainer', ids: ['a'] });

  plugin.stop();
  await until('nothing can be given', () => amounts() === '3/0');
  const back = await startDevicePlugin(directory, { resource: R, devices: [{ id: 'a' }], prefers: ['b'] });
  t.teardown(() => back.stop());
  await back.register();
  await until('it is back', () => amounts() === '1/1');
  t.true(inventory.options(R)!.getPreferredAllocationAvailable);
  t.deepEqual(await inventory.plugin(R)!.connection.preferred(['a', 'b', 'c'], ['a'], 2), ['a', 'b']);

  // A new version of the same plugin beside the old one: the newest counts, and the old one's end does not.
  const young = await startDevicePlugin(directory, { resource: R, devices: [{ id: 'z' }], endpoint: 'young.sock' });
  t.teardown(() => young.stop());
  await young.register();
  await until('the newest counts', () => inventory.devices(R).has('z'));
  back.stop();
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(amounts(), '1/1');
  const metric = (await registry.getMetricsAsJSON()).find(
    ({ name }) => name === 'kubelet_device_plugin_registration_total',
  );
  t.deepEqual(metric!.values[0], { labels: { resource_name: R }, value: 3 } as never);
});

test('plugins that are refused are told why', async (t) => {
  const { directory, registration, amounts, base } = await setUp(t);
  await registration.start();
  const refused = async (settings: Partial<Parameters<typeof startDevicePlugin>[1]>, message: RegExp) => {
    const plugin = await startDevicePlugin(directory, {
      resource: R,
      devices: [{ id: 'a' }],
      endpoint: 'x.sock',
      ...settings,
    });
    await t.throwsAsync(plugin.register(), { message });
    plugin.stop();
  };
  await refused(
    { version: 'v1alpha1' },
    /requested API version "v1alpha1" is not supported by kubelet\. Supported version is \["v1beta1"\]/,
  );
  await refused({ resource: 'gpu' }, /the ResourceName "gpu" is invalid/);
  await refused({ resource: 'kubernetes.io/gpu' }, /the ResourceName "kubernetes.io\/gpu" is invalid/);
  const elsewhere = await startDevicePlugin(base, { resource: R, devices: [], endpoint: 'y.sock' });
  t.teardown(() => elsewhere.stop());
  for (const endpoint of ['', '../y.sock', '/run/y.sock', '..', '.', 'kubelet.sock'])
    t.throws(() => checkRegistration({ version: 'v1beta1', resourceName: R, endpoint }), {
      message: /^the Endpoint ".*" is invalid: it must be the name of the plugin's own socket/,
    });
  const mute = await startDevicePlugin(directory, { resource: R, devices: [] });
  mute.fail('GetDevicePluginOptions', 'not today');
  await t.throwsAsync(mute.register(), { message: /failed to get device plugin options: .*not today/ });
  mute.stop();
  t.is(amounts(), '/');
});

test('a restarted agent makes its socket anew and removes those of plugins, and nothing else', async (t) => {
  const { directory, registration } = await setUp(t);
  await mkdir(join(directory, 'sub'), { recursive: true });
  await writeFile(join(directory, 'kubelet_internal_checkpoint'), '{}');
  const left = createServer();
  await new Promise<void>((resolve) => left.listen(join(directory, 'left.sock'), resolve));
  t.teardown(() => left.close());
  await registration.start();
  t.deepEqual((await readdir(directory)).sort(), ['kubelet.sock', 'kubelet_internal_checkpoint', 'sub']);
});

test('plugins in the registry directory are taken in as well, and told the outcome', async (t) => {
  const { base, directory, deps, amounts } = await setUp(t);
  const registry = join(base, 'plugins_registry');
  const watcher = createPluginWatcher(
    { directory: registry },
    { handlers: [createDevicePluginHandler(deps)], clock: systemClock, log },
  );
  const stop = new AbortController();
  const running = watcher.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  const plugin = await startDevicePlugin(directory, { resource: R, devices: [{ id: 'a' }], endpoint: 'own.sock' });
  t.teardown(() => plugin.stop());
  const endpoint = join(directory, 'own.sock');
  const told: { pluginRegistered: boolean; error: string }[] = [];
  const endOld = await announceDevicePlugin(registry, { name: R, endpoint, versions: ['v1'] }, (one) => told.push(one));
  await until('it is refused', () => told.length > 0);
  t.deepEqual(told[0], {
    pluginRegistered: false,
    error: 'manager version, v1beta1, is not among plugin supported versions [v1]',
  });
  endOld();
  told.length = 0;
  const end = await announceDevicePlugin(registry, { name: R, endpoint, versions: ['v1beta1'] }, (one) =>
    told.push(one),
  );
  await until('it is taken', () => told.some(({ pluginRegistered }) => pluginRegistered));
  await until('its devices are listed', () => amounts() === '1/1');
  end();
  await until('it is let go', () => amounts() === '1/0');
});
