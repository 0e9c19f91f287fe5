import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CheckpointError } from '../../../../../agent/resources/checkpoints/checkpoint-file.ts';
import { createDeviceManager } from '../../../../../agent/resources/devices/device-manager.ts';
import { type ConnectedPlugin, createInventory } from '../../../../../agent/resources/devices/inventory.ts';
import type { PluginConnection } from '../../../../../agent/resources/devices/plugin-connection.ts';
import { numaMask } from '../../../../../agent/resources/topology/numa-mask.ts';
import type { ContainerAllocateResponse } from '../../../../../src/grpc/device-plugin.ts';
import type { Container, Pod } from '../../../../../src/kube/types.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../../fakes/clock.ts';
import { eventually } from '../../../../support/eventually.ts';
import { podOf } from '../../pod.ts';

const R = 'vendor.com/gpu';
const ANYWHERE = { preferred: false };
const EMPTY: ContainerAllocateResponse = { envs: {}, mounts: [], devices: [], annotations: {}, cdiDevices: [] };

interface FakePlugin extends ConnectedPlugin {
  calls: string[];
  refuse: Partial<Record<'allocate' | 'preStart' | 'preferred', string>>;
  answer: ContainerAllocateResponse | undefined;
}

function fakePlugin(options: Partial<ConnectedPlugin['options']> = {}): FakePlugin {
  const calls: string[] = [];
  const refuse: FakePlugin['refuse'] = {};
  const call = (method: 'allocate' | 'preStart' | 'preferred', ids: readonly string[]) => {
    calls.push(`${method} ${ids.join(',')}`);
    if (refuse[method]) throw new Error(refuse[method]);
  };
  const plugin: FakePlugin = {
    calls,
    refuse,
    answer: EMPTY,
    options: { preStartRequired: false, getPreferredAllocationAvailable: false, ...options },
    connection: {
      async allocate(ids: readonly string[]) {
        call('allocate', ids);
        return plugin.answer && { ...plugin.answer, envs: { ...plugin.answer.envs, IDS: ids.join(',') } };
      },
      async preStart(ids: readonly string[]) {
        call('preStart', ids);
      },
      async preferred(available: readonly string[]) {
        call('preferred', available);
        return [available.at(-1)!];
      },
    } as Partial<PluginConnection> as PluginConnection,
  };
  return plugin;
}

async function setUp(t: ExecutionContext, folder?: string) {
  const directory = folder ?? (await mkdtemp('/tmp/berth-unit-devices-'));
  if (!folder) t.teardown(() => rm(directory, { recursive: true, force: true }));
  const clock = createFakeClock();
  const inventory = createInventory({ clock });
  const measured: string[] = [];
  const checkpointPath = join(directory, 'kubelet_internal_checkpoint');
  const manager = createDeviceManager(
    { checkpointPath },
    {
      inventory,
      numaNodes: () => [0, 1],
      metrics: { registration: () => {}, allocation: (resource) => measured.push(resource) },
      clock,
      log: silentLogger,
    },
  );
  return {
    directory,
    checkpointPath,
    clock,
    inventory,
    manager,
    measured,
    /** `a b!`: b is sick; `a@1`: near to node 1. */
    plug(devices: string, plugin = fakePlugin(), resource = R): FakePlugin {
      inventory.connected(resource, plugin);
      const listed = devices.split(' ').map((one) => {
        const [id, node] = one.replace('!', '').split('@');
        const topology = node === undefined ? undefined : { nodes: [{ id: Number(node) }] };
        return { id: id!, health: one.endsWith('!') ? 'Unhealthy' : 'Healthy', topology };
      });
      inventory.listed(resource, plugin, listed);
      return plugin;
    },
  };
}

const asking = (name: string, amount: number | string, rest: Partial<Container> = {}, resource = R): Container => ({
  name,
  image: 'x',
  resources: { limits: { [resource]: String(amount), cpu: '1' } },
  ...rest,
});
const podAsking = (uid: string, ...containers: Container[]): Pod => podOf({ containers }, { uid });

async function admit(manager: Awaited<ReturnType<typeof setUp>>['manager'], pod: Pod): Promise<void> {
  for (const container of [...(pod.spec.initContainers ?? []), ...pod.spec.containers])
    await manager.provider.allocate(pod, container, ANYWHERE);
}

test('containers get devices, keep them over restarts of the agent, and give them back', async (t) => {
  const { manager, plug, directory, measured } = await setUp(t);
  const plugin = plug('a b c');
  const one = podAsking('one', asking('app', 2), asking('other', 1));
  await admit(manager, one);
  t.deepEqual(plugin.calls, ['allocate a,b', 'allocate c']);
  t.deepEqual(measured, [R, R]);
  await admit(manager, one);
  t.is(plugin.calls.length, 2);
  t.deepEqual([...manager.allocated()], [[R, 3]]);
  t.deepEqual([...manager.provider.holders!()], ['one']);
  await t.throwsAsync(admit(manager, podAsking('two', asking('app', 1))), {
    name: 'AllocationError',
    message: 'requested number of devices unavailable for vendor.com/gpu. Requested: 1, Available: 0',
  });

  const next = await setUp(t, directory);
  t.true(await next.manager.restore());
  t.deepEqual([...next.manager.allocated()], [[R, 3]]);
  t.deepEqual([...next.manager.amounts().capacity], [[R, 0]]);
  // Taken over as it is: the plugin is not back yet, and is not needed for that.
  await admit(next.manager, one);
  await t.throwsAsync(admit(next.manager, podAsking('two', asking('app', 1))), {
    message: 'no healthy devices present; cannot allocate unhealthy devices vendor.com/gpu',
  });
  const back = next.plug('a b c d');
  await admit(next.manager, podAsking('two', asking('app', 1)));
  t.deepEqual(back.calls, ['allocate d']);

  next.manager.provider.remove('one', 'app');
  t.deepEqual([...next.manager.allocated()], [[R, 2]]);
  next.manager.provider.remove('one');
  next.manager.provider.remove('one');
  await admit(next.manager, podAsking('three', asking('app', 3)));
  t.deepEqual(back.calls.slice(1), ['allocate a,b,c']);
});

test('the checkpoint is on the disk before a container is admitted; where it cannot be, the container is not', async (t) => {
  const { manager, plug, checkpointPath, directory } = await setUp(t);
  plug('a');
  const pod = podAsking('one', asking('app', 1));
  await rm(directory, { recursive: true });
  await writeFile(directory, '');
  await t.throwsAsync(admit(manager, pod), { name: 'AllocationError', message: /^cannot write the checkpoint / });
  t.deepEqual([...manager.allocated()], []);
  await rm(directory);
  await admit(manager, pod);
  t.like(JSON.parse(await readFile(checkpointPath, 'utf8')), {
    Data: { PodDeviceEntries: [{ PodUID: 'one', ContainerName: 'app', DeviceIDs: { '-1': ['a'] } }] },
  });
});

test('a corrupt checkpoint is put aside, and ends the start; the next one begins without it', async (t) => {
  const { manager, checkpointPath, directory } = await setUp(t);
  await writeFile(checkpointPath, '{"Data":');
  await t.throwsAsync(manager.restore(), {
    instanceOf: CheckpointError,
    message: /kubelet_internal_checkpoint is corrupt: it is not JSON.*It is kept as .*\.corrupt-/,
  });
  const [aside, ...others] = await readdir(directory);
  t.regex(aside!, /^kubelet_internal_checkpoint\.corrupt-/);
  t.deepEqual(others, []);
  t.false(await manager.restore());
});

test('what a plugin refuses, or answers with nothing, leaves no device with anybody', async (t) => {
  const { manager, plug } = await setUp(t);
  const plugin = plug('a b');
  const other = plug('x', fakePlugin(), 'vendor.com/nic');
  const both = podAsking('one', {
    name: 'app',
    image: 'x',
    resources: { limits: { [R]: '1', 'vendor.com/nic': '1' } },
  });
  other.refuse.allocate = 'rpc error: code = Internal desc = on fire';
  await t.throwsAsync(admit(manager, both), { message: 'rpc error: code = Internal desc = on fire' });
  t.deepEqual([...manager.allocated()], []);
  delete other.refuse.allocate;
  other.answer = undefined;
  await t.throwsAsync(admit(manager, both), { message: /^no containers return in allocation response/ });
  t.deepEqual([...manager.allocated()], []);
  other.answer = EMPTY;
  await admit(manager, both);
  t.deepEqual([...manager.allocated()].sort(), [
    [R, 1],
    ['vendor.com/nic', 1],
  ]);
  t.is(plugin.calls.length, 3);
});

test('resources that no plugin brings, zero of one, and others than extended ones are nobody’s business here', async (t) => {
  const { manager, plug } = await setUp(t);
  const plugin = plug('a');
  const pod = podAsking('one', asking('app', 0), asking('other', 3, {}, 'unknown.com/thing'), {
    name: 'x',
    image: 'y',
  });
  await admit(manager, pod);
  t.deepEqual(plugin.calls, []);
  for (const container of pod.spec.containers) {
    t.is(manager.provider.hints(pod, container).size, 0);
    t.is(await manager.prepare(pod, container), undefined);
  }
});

test('a container whose request is otherwise than what it holds', async (t) => {
  const { manager, plug } = await setUp(t);
  plug('a b');
  await admit(manager, podAsking('one', asking('app', 1)));
  await t.throwsAsync(admit(manager, podAsking('one', asking('app', 2))), {
    message: 'pod "one" container "app" changed request for resource "vendor.com/gpu" from 1 to 2',
  });
});

test('devices of init containers go on to the containers after them, those of sidecars do not', async (t) => {
  const { manager, plug } = await setUp(t);
  const plugin = plug('a b c');
  const pod = podOf(
    {
      initContainers: [asking('first', 2), asking('sidecar', 1, { restartPolicy: 'Always' }), asking('second', 1)],
      containers: [asking('app', 2)],
    },
    { uid: 'one' },
  );
  await admit(manager, pod);
  t.deepEqual(plugin.calls, ['allocate a,b', 'allocate a', 'allocate b', 'allocate b,c']);
  t.deepEqual([...manager.allocated()], [[R, 3]]);
});

test('topology: hints of what is free, of what is held, of a whole pod; devices within the affinity', async (t) => {
  const { manager, plug } = await setUp(t);
  const plugin = plug('a@0 b@0 c@1 d@1');
  const { provider } = manager;
  const shown = (hints: ReturnType<typeof provider.hints>) =>
    hints.get(R)?.map(({ numaNodes, preferred }) => `${numaNodes}${preferred ? '*' : ''}`);
  const pod = podAsking('one', asking('app', 1), asking('other', 1));
  const [app, other] = pod.spec.containers as [Container, Container];
  t.deepEqual(shown(provider.hints(pod, app)), ['1*', '2*', '3']);
  t.deepEqual(shown(provider.podHints(pod)), ['1*', '2*', '3']);
  await provider.allocate(pod, app, { numaNodes: numaMask([1]), preferred: true });
  t.deepEqual(plugin.calls, ['allocate c']);
  t.deepEqual(shown(provider.hints(pod, app)), ['2*', '3']);
  t.deepEqual(shown(provider.podHints(pod)), []);
  await provider.allocate(pod, other, { numaNodes: numaMask([1]), preferred: true });
  t.deepEqual(shown(provider.podHints(pod)), ['2*', '3']);
  const big = podAsking('two', asking('app', 3));
  t.deepEqual(shown(provider.hints(big, big.spec.containers[0]!)), []);

  const flat = await setUp(t);
  flat.plug('a b');
  const hints = flat.manager.provider.hints(pod, app);
  t.true(hints.has(R));
  t.is(hints.get(R), undefined);
});

test('the plugin is asked for its preference, and refuses', async (t) => {
  const { manager, plug } = await setUp(t);
  const plugin = plug('a b c', fakePlugin({ getPreferredAllocationAvailable: true }));
  await admit(manager, podAsking('one', asking('app', 1)));
  t.deepEqual(plugin.calls, ['preferred a,b,c', 'allocate c']);
  plugin.refuse.preferred = 'no idea';
  await t.throwsAsync(admit(manager, podAsking('two', asking('app', 1))), {
    message: 'device plugin GetPreferredAllocation rpc failed with err: no idea',
  });
});

test('before a container is made, plugins that want it are asked, and all answers come together', async (t) => {
  const { manager, plug } = await setUp(t);
  const mount = { containerPath: '/lib/x', hostPath: '/opt/x', readOnly: true };
  const gpu = fakePlugin({ preStartRequired: true });
  gpu.answer = {
    envs: { BOTH: 'gpu' },
    mounts: [mount],
    devices: [{ containerPath: '/dev/g', hostPath: '/dev/g0', permissions: 'rw' }],
    annotations: { 'x.com/a': '1' },
    cdiDevices: [{ name: 'x.com/gpu=0' }],
  };
  const nic = fakePlugin();
  nic.answer = { ...EMPTY, envs: { BOTH: 'nic', ONE: '1' }, mounts: [{ ...mount, hostPath: '/opt/y' }] };
  plug('a', gpu);
  plug('x', nic, 'vendor.com/nic');
  const container = { name: 'app', image: 'x', resources: { limits: { [R]: '1', 'vendor.com/nic': '1' } } };
  const pod = podAsking('one', container);
  await admit(manager, pod);
  const options = await manager.prepare(pod, container);
  t.deepEqual(Object.fromEntries(options!.env), { BOTH: 'gpu', IDS: 'a', ONE: '1' });
  t.deepEqual(options!.mounts, [mount]);
  t.deepEqual(options!.devices, gpu.answer.devices);
  t.deepEqual(options!.annotations, { 'x.com/a': '1' });
  t.deepEqual(options!.cdiDevices, ['x.com/gpu=0']);
  t.deepEqual(gpu.calls, ['allocate a', 'preStart a']);
  t.deepEqual(nic.calls, ['allocate x']);
  gpu.refuse.preStart = 'not now';
  await t.throwsAsync(manager.prepare(pod, container), {
    message: 'device plugin PreStartContainer rpc failed with err: not now',
  });
});

test('a container that starts again while its plugin is away', async (t) => {
  const { manager, plug, inventory, directory } = await setUp(t);
  const container = asking('app', 1);
  const pod = podAsking('one', container);
  const plain = plug('a');
  await admit(manager, pod);
  inventory.disconnected(R, plain);
  t.deepEqual((await manager.prepare(pod, container))!.env.get('IDS'), 'a');
  const strict = plug('a', fakePlugin({ preStartRequired: true }));
  inventory.disconnected(R, strict);
  await t.throwsAsync(manager.prepare(pod, container), { message: /endpoint of vendor\.com\/gpu has been stopped/ });

  // After a restart of the agent (or of the machine) nobody has vouched for the devices.
  const next = await setUp(t, directory);
  await next.manager.restore();
  await t.throwsAsync(next.manager.prepare(pod, container), {
    message: 'the device plugin of vendor.com/gpu has not registered yet since the agent was started',
  });
  next.plug('b');
  await t.throwsAsync(next.manager.prepare(pod, container), { message: /its plugin does not list a$/ });
  next.plug('a');
  t.is((await next.manager.prepare(pod, container))!.env.get('IDS'), 'a');

  // Its memory lost: it is given devices anew.
  const blank = await setUp(t);
  const plugin = blank.plug('a');
  t.is((await blank.manager.prepare(pod, container))!.env.get('IDS'), 'a');
  t.deepEqual(plugin.calls, ['allocate a']);
});

test('the status of a container tells how its devices are', async (t) => {
  const { manager, plug, inventory } = await setUp(t);
  plug('a b');
  t.is(manager.status('one', 'app'), undefined);
  await admit(manager, podAsking('one', asking('app', 2)));
  const health = () => manager.status('one', 'app')!.map(({ name, resources }) => [name, resources]);
  t.deepEqual(health(), [
    [
      R,
      [
        { resourceID: 'a', health: 'Healthy' },
        { resourceID: 'b', health: 'Healthy' },
      ],
    ],
  ]);
  const plugin = plug('a!');
  t.deepEqual(health()[0]![1], [
    { resourceID: 'a', health: 'Unhealthy' },
    { resourceID: 'b', health: 'Unknown' },
  ]);
  t.deepEqual(manager.holders(R, ['b']), ['one']);
  t.deepEqual(manager.holders(R, ['z']), []);
  inventory.disconnected(R, plugin);
  t.deepEqual(health()[0]![1], [
    { resourceID: 'a', health: 'Unknown' },
    { resourceID: 'b', health: 'Unknown' },
  ]);
});

test('no two containers ever hold the same device while pods come and go at random, over restarts', async (t) => {
  let seed = 11;
  const random = (below: number) => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  const world = await setUp(t);
  let { manager, plug } = world;
  const ids = Array.from({ length: 12 }, (_, index) => `d${index}`);
  plug(ids.join(' '));
  const live = new Map<string, Pod>();
  for (let step = 0; step < 300; step++) {
    if (step % 60 === 59) {
      const holders = [...manager.provider.holders!()].sort();
      // What was given back last may still be on its way to the disk.
      await eventually('all is on the disk', async () => {
        const { Data } = JSON.parse(await readFile(world.checkpointPath, 'utf8'));
        const written = new Set((Data.PodDeviceEntries ?? []).map(({ PodUID }: { PodUID: string }) => PodUID));
        return [...written].sort().join() === holders.join();
      });
      const next = await setUp(t, world.directory);
      await next.manager.restore();
      t.deepEqual([...next.manager.provider.holders!()].sort(), holders);
      ({ manager, plug } = next);
      plug(ids.join(' '));
    }
    if (live.size > 0 && random(3) === 0) {
      const [uid] = [...live.keys()][random(live.size)]!.split(' ');
      manager.provider.remove(uid!);
      live.delete(uid!);
      continue;
    }
    const pod = podAsking(`pod-${step}`, asking('one', 1 + random(3)), asking('two', random(3)));
    const free = ids.length - (manager.allocated().get(R) ?? 0);
    const wanted = pod.spec.containers.reduce((sum, { resources }) => sum + Number(resources!.limits![R]), 0);
    try {
      await admit(manager, pod);
      live.set(pod.metadata.uid, pod);
      t.true(wanted <= free);
    } catch {
      t.true(wanted > free);
      manager.provider.remove(pod.metadata.uid);
    }
    const held = [...live.values()].flatMap((one) =>
      one.spec.containers.flatMap(
        ({ name }) => manager.status(one.metadata.uid, name)?.[0]?.resources?.map(({ resourceID }) => resourceID) ?? [],
      ),
    );
    t.is(new Set(held).size, held.length);
  }
});
