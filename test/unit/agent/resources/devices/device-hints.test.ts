import test from 'ava';
import { computeDeviceHints, hasTopology } from '../../../../../agent/resources/devices/device-hints.ts';
import type { Device, Devices } from '../../../../../agent/resources/devices/inventory.ts';
import { numaNodesOf } from '../../../../../agent/resources/topology/numa-mask.ts';

const near = (...numaNodes: number[]) => ({ isHealthy: true, numaNodes });
const FOUR: Devices = new Map([
  ['a', near(0)],
  ['b', near(0)],
  ['c', near(1)],
  ['d', near(1)],
]);

function hints(
  devices: Devices,
  requested: number,
  available: string[],
  reusable: string[] = [],
  numaNodes = [0, 1],
): string[] {
  const found = computeDeviceHints({
    devices,
    numaNodes,
    available: new Set(available),
    reusable: new Set(reusable),
    requested,
  });
  return found.map(({ numaNodes: mask, preferred }) => `${numaNodesOf(mask!).join('+')}${preferred ? '*' : ''}`);
}

test('every set of nodes with enough devices; the smallest that could ever do are preferred', (t) => {
  t.deepEqual(hints(FOUR, 1, ['a', 'b', 'c', 'd']), ['0*', '1*', '0+1']);
  t.deepEqual(hints(FOUR, 2, ['a', 'b', 'c', 'd']), ['0*', '1*', '0+1']);
  t.deepEqual(hints(FOUR, 3, ['a', 'b', 'c', 'd']), ['0+1*']);
  // One node would do if nobody had a device of it: the pair is not preferred.
  t.deepEqual(hints(FOUR, 2, ['a', 'c']), ['0+1']);
  t.deepEqual(hints(FOUR, 2, ['c', 'd']), ['1*', '0+1']);
  t.deepEqual(hints(FOUR, 2, ['d']), []);
});

test('what is taken over from init containers has to be within the nodes', (t) => {
  t.deepEqual(hints(FOUR, 2, ['b', 'c', 'd'], ['a']), ['0*', '0+1']);
  t.deepEqual(hints(FOUR, 1, ['c', 'd'], ['a']), ['0*', '0+1']);
});

test('devices of several nodes, of none, and of nodes that plugins call -1', (t) => {
  const mixed: Devices = new Map<string, Device>([
    ['a', near(0, 1)],
    ['b', near(1)],
    ['c', { isHealthy: true }],
    ['d', near(-1)],
  ]);
  t.deepEqual(hints(mixed, 1, ['a', 'b']), ['0*', '1*', '0+1']);
  t.deepEqual(hints(mixed, 2, ['a', 'b']), ['1*', '0+1']);
  t.deepEqual(hints(mixed, 1, ['c', 'd']), []);
  t.true(hasTopology(mixed));
  t.false(hasTopology(new Map([['c', { isHealthy: true }]])));
});

test('nodes need not be numbered from 0 on', (t) => {
  const devices: Devices = new Map([['a', near(8)]]);
  t.deepEqual(hints(devices, 1, ['a'], [], [0, 8]), ['8*', '0+8']);
});
