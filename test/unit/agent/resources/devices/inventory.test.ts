import test from 'ava';
import { createInventory, STOP_GRACE_MS } from '../../../../../agent/resources/devices/inventory.ts';
import type { PluginConnection } from '../../../../../agent/resources/devices/plugin-connection.ts';
import { isExtendedResourceName } from '../../../../../agent/resources/devices/resource-name.ts';
import { createFakeClock } from '../../../../fakes/clock.ts';

const R = 'vendor.com/gpu';
const options = { preStartRequired: false, getPreferredAllocationAvailable: false };
const plugin = () => ({ connection: {} as PluginConnection, options });
const device = (id: string, health = 'Healthy') => ({ id, health, topology: undefined });

test('capacity counts every device, allocatable the healthy ones, nothing without a plugin; five minutes later the resource is gone', async (t) => {
  const clock = createFakeClock();
  const inventory = createInventory({ clock });
  const amounts = () => {
    const { capacity, allocatable } = inventory.amounts();
    return [capacity.get(R), allocatable.get(R)];
  };
  t.deepEqual(amounts(), [undefined, undefined]);
  const first = plugin();
  inventory.connected(R, first);
  t.deepEqual(inventory.listed(R, first, [device('a'), device('b'), device('c', 'Unhealthy'), device('')]), [
    'a',
    'b',
    'c',
  ]);
  t.deepEqual(amounts(), [3, 2]);
  t.deepEqual(inventory.listed(R, first, [device('a', 'odd'), device('b')]), ['a', 'c']);
  t.deepEqual(amounts(), [2, 1]);

  t.true(inventory.disconnected(R, first));
  t.false(inventory.disconnected(R, first));
  t.deepEqual(amounts(), [2, 0]);
  t.deepEqual(inventory.options(R), options);
  await clock.advance(STOP_GRACE_MS - 1);
  t.deepEqual(inventory.expire(), []);
  await clock.advance(1);
  t.deepEqual(inventory.expire(), [R]);
  t.false(inventory.has(R));
  // Upstream too goes on showing what was a plugin's, as 0.
  t.deepEqual(amounts(), [0, 0]);
});

test('a plugin that registers again takes the place of the one before, whose last words count no more', (t) => {
  const inventory = createInventory({ clock: createFakeClock() });
  const [old, young] = [plugin(), plugin()];
  inventory.connected(R, old);
  inventory.listed(R, old, [device('a')]);
  t.is(inventory.connected(R, young), old);
  t.deepEqual(inventory.healthy(R), ['a']);
  t.deepEqual(inventory.listed(R, old, []), []);
  t.false(inventory.disconnected(R, old));
  t.deepEqual(inventory.healthy(R), ['a']);
  inventory.listed(R, young, [device('b')]);
  t.deepEqual(inventory.healthy(R), ['b']);
});

test('resources of an earlier life are known, and have nothing until their plugins are back', async (t) => {
  const clock = createFakeClock();
  const inventory = createInventory({ clock });
  inventory.recall([R]);
  t.true(inventory.has(R));
  t.is(inventory.options(R), undefined);
  t.deepEqual([...inventory.amounts().capacity], [[R, 0]]);
  await clock.advance(STOP_GRACE_MS);
  t.deepEqual(inventory.expire(), [R]);
  const back = plugin();
  inventory.connected(R, back);
  inventory.listed(R, back, [device('a')]);
  t.deepEqual([...inventory.amounts().allocatable], [[R, 1]]);
});

for (const [name, isOne] of [
  ['vendor.com/gpu', true],
  ['vendor.com/GPU_1.x', true],
  ['a/b', true],
  ['gpu', false],
  ['kubernetes.io/gpu', false],
  ['node.kubernetes.io/gpu', false],
  ['requests.vendor.com/gpu', false],
  ['vendor.com/gpu/2', false],
  ['vendor.com/', false],
  ['/gpu', false],
  ['Vendor.com/gpu', false],
  ['vendor.com/-gpu', false],
  [`vendor.com/${'x'.repeat(64)}`, false],
  [`${'x'.repeat(250)}/gpu`, false],
  ['', false],
] as const)
  test(`an extended resource's name: ${JSON.stringify(name.slice(0, 40))} ${isOne ? 'is one' : 'is none'}`, (t) => {
    t.is(isExtendedResourceName(name), isOne);
  });
