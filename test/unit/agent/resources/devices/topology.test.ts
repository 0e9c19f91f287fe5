import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createDeviceManager } from '../../../../../agent/resources/devices/device-manager.ts';
import { createInventory } from '../../../../../agent/resources/devices/inventory.ts';
import type { PluginConnection } from '../../../../../agent/resources/devices/plugin-connection.ts';
import type { HintProvider } from '../../../../../agent/resources/topology/hint-provider.ts';
import { createManagerMetrics } from '../../../../../agent/resources/topology/manager-metrics.ts';
import { numaMask } from '../../../../../agent/resources/topology/numa-mask.ts';
import {
  createTopologyManager,
  type TopologyManagerOptions,
} from '../../../../../agent/resources/topology/topology-manager.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { Registry } from '../../../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../../../fakes/clock.ts';
import { podOf } from '../../pod.ts';

const R = 'vendor.com/gpu';
const signal = new AbortController().signal;

/** Devices `a0 b0 c1 d1` (node behind the name), and CPUs that are to be had on these nodes only. */
async function setUp(
  t: ExecutionContext,
  { policy, scope }: Pick<TopologyManagerOptions, 'policy' | 'scope'>,
  cpuNodes: number[],
) {
  const directory = await mkdtemp('/tmp/berth-unit-devtopo-');
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const clock = createFakeClock();
  const inventory = createInventory({ clock });
  const connection: Partial<PluginConnection> = {
    allocate: async () => ({ envs: {}, mounts: [], devices: [], annotations: {}, cdiDevices: [] }),
  };
  const plugin = {
    connection: connection as PluginConnection,
    options: { preStartRequired: false, getPreferredAllocationAvailable: false },
  };
  inventory.connected(R, plugin);
  inventory.listed(
    R,
    plugin,
    ['a0', 'b0', 'c1', 'd1'].map((id) => ({ id, health: 'Healthy', topology: { nodes: [{ id: Number(id[1]) }] } })),
  );
  const manager = createDeviceManager(
    { checkpointPath: join(directory, 'checkpoint') },
    {
      inventory,
      numaNodes: () => [0, 1],
      metrics: { registration: () => {}, allocation: () => {} },
      clock,
      log: silentLogger,
    },
  );
  const cpuHints = () => new Map([['cpu', cpuNodes.map((node) => ({ numaNodes: numaMask([node]), preferred: true }))]]);
  const cpus: HintProvider = { name: 'cpu', hints: cpuHints, podHints: cpuHints, allocate() {}, remove() {} };
  const topology = createTopologyManager(
    { policy, scope, machine: { nodes: [0, 1] } },
    {
      providers: [cpus, manager.provider],
      metrics: createManagerMetrics(new Registry()),
      clock,
      log: silentLogger,
    },
  );
  const ids = (uid: string, container = 'app') =>
    manager.status(uid, container)?.[0]?.resources?.map(({ resourceID }) => resourceID);
  return { manager, topology, ids };
}

const asking = (uid: string, ...amounts: number[]) =>
  podOf(
    {
      containers: amounts.map((amount, index) => ({
        name: index === 0 ? 'app' : `app${index}`,
        image: 'x',
        resources: { limits: { [R]: String(amount) } },
      })),
    },
    { uid },
  );

test('devices come from where the CPUs are, and a pod that would be torn apart is refused and holds nothing', async (t) => {
  const { topology, ids, manager } = await setUp(t, { policy: 'single-numa-node', scope: 'container' }, [1]);
  t.is(await topology.admit(asking('one', 1), [], signal), undefined);
  t.deepEqual(ids('one'), ['c1']);
  t.deepEqual(await topology.admit(asking('two', 1, 1), [], signal), {
    reason: 'TopologyAffinityError',
    message: 'Resources cannot be allocated with Topology locality',
  });
  t.deepEqual([...manager.provider.holders!()], ['one']);
  topology.release!('one');
  t.is(await topology.admit(asking('two', 1, 1), [], signal), undefined);
  t.deepEqual([ids('two'), ids('two', 'app1')], [['c1'], ['d1']]);
});

test('best effort takes them from elsewhere; a pod as a whole is aligned where the scope says so', async (t) => {
  const loose = await setUp(t, { policy: 'best-effort', scope: 'container' }, [1]);
  t.is(await loose.topology.admit(asking('one', 3), [], signal), undefined);
  t.is(loose.ids('one')!.length, 3);
  const whole = await setUp(t, { policy: 'restricted', scope: 'pod' }, [0, 1]);
  t.is(await whole.topology.admit(asking('one', 1), [], signal), undefined);
  t.deepEqual(whole.ids('one'), ['a0']);
  // Two of its own are left on node 1 alone.
  t.is(await whole.topology.admit(asking('two', 1, 1), [], signal), undefined);
  t.deepEqual([whole.ids('two'), whole.ids('two', 'app1')], [['c1'], ['d1']]);
  t.like(await whole.topology.admit(asking('three', 2), [], signal), { reason: 'TopologyAffinityError' });
});

test('without a policy any device will do', async (t) => {
  const { topology, ids } = await setUp(t, { policy: 'none', scope: 'container' }, [1]);
  t.is(await topology.admit(asking('one', 3), [], signal), undefined);
  t.deepEqual(ids('one'), ['a0', 'b0', 'c1']);
  t.deepEqual(await topology.admit(asking('two', 2), [], signal), {
    reason: 'UnexpectedAdmissionError',
    message: `Allocate failed due to requested number of devices unavailable for ${R}. Requested: 2, Available: 1, which is unexpected`,
  });
});
