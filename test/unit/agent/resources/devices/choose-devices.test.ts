import test from 'ava';
import {
  chooseDevices,
  type DeviceChoice,
  type PreferDevices,
  sortByAffinity,
} from '../../../../../agent/resources/devices/choose-devices.ts';
import type { Devices } from '../../../../../agent/resources/devices/inventory.ts';
import { numaMask } from '../../../../../agent/resources/topology/numa-mask.ts';

/** `a@0 b@1 c d!`: a near to NUMA node 0, c nowhere, d sick. */
function devicesOf(text: string): Devices {
  return new Map(
    text.split(' ').map((one) => {
      const [id, nodes] = one.replace('!', '').split('@');
      return [id!, { isHealthy: !one.endsWith('!'), ...(nodes && { numaNodes: nodes.split('+').map(Number) }) }];
    }),
  );
}

interface Case {
  devices: string;
  required: number;
  inUse?: string[];
  reusable?: string[];
  affinity?: number[];
  prefers?: string[];
  /** The ids, or the message. */
  gets: string[] | RegExp;
}

const CASES: Record<string, Case> = {
  'the first by name': { devices: 'c b a', required: 2, gets: ['a', 'b'] },
  'none that is in use': { devices: 'a b c', required: 2, inUse: ['a'], gets: ['b', 'c'] },
  'none that is sick': { devices: 'a! b c', required: 2, gets: ['b', 'c'] },
  'too few': {
    devices: 'a b',
    required: 2,
    inUse: ['a'],
    gets: /^requested number of devices unavailable for x\.com\/d\. Requested: 2, Available: 1$/,
  },
  'all sick': {
    devices: 'a! b!',
    required: 1,
    gets: /^no healthy devices present; cannot allocate unhealthy devices x\.com\/d$/,
  },
  'what init containers had comes first': {
    devices: 'a b c',
    required: 2,
    inUse: ['c'],
    reusable: ['c'],
    gets: ['c', 'a'],
  },
  'what an init container had and is sick since does not': {
    devices: 'a b c!',
    required: 1,
    inUse: ['c'],
    reusable: ['c'],
    gets: ['a'],
  },
  'only as many of those as are wanted': {
    devices: 'a b c',
    required: 1,
    inUse: ['b', 'c'],
    reusable: ['b', 'c'],
    gets: ['b'],
  },
  'within the affinity': { devices: 'a@0 b@1 c@1', required: 2, affinity: [1], gets: ['b', 'c'] },
  'the affinity first, then elsewhere': { devices: 'a@0 b@1 c@0', required: 2, affinity: [1], gets: ['b', 'a'] },
  'elsewhere before nowhere': { devices: 'a b@1 c@0', required: 2, affinity: [1], gets: ['b', 'c'] },
  'near to several nodes is near': { devices: 'a@0 b@0+1', required: 1, affinity: [1], gets: ['b'] },
  'no affinity: anywhere': { devices: 'a@0 b@1', required: 1, gets: ['a'] },
  'as the plugin prefers': { devices: 'a b c d', required: 2, prefers: ['d', 'b'], gets: ['b', 'd'] },
  'as the plugin prefers, as far as it does': { devices: 'a b c d', required: 2, prefers: ['d'], gets: ['d', 'a'] },
  'a preference for what is not to be had is passed over': {
    devices: 'a b c',
    required: 1,
    inUse: ['c'],
    prefers: ['c', 'z'],
    gets: ['a'],
  },
  'the affinity before the preference': {
    devices: 'a@0 b@1 c@1 d@1',
    required: 2,
    affinity: [1],
    prefers: ['a', 'd'],
    gets: ['d', 'b'],
  },
  'a preference for the rest beyond the affinity': {
    devices: 'a@0 b@0 c@1',
    required: 2,
    affinity: [1],
    prefers: ['b'],
    gets: ['c', 'b'],
  },
};

for (const [name, { devices: text, gets, prefers, affinity, ...given }] of Object.entries(CASES))
  test(`devices for a container: ${name}`, async (t) => {
    const devices = devicesOf(text);
    const choice: DeviceChoice = {
      resource: 'x.com/d',
      required: given.required,
      devices,
      healthy: [...devices].filter(([, { isHealthy }]) => isHealthy).map(([id]) => id),
      inUse: new Set(given.inUse),
      reusable: new Set(given.reusable),
      affinity: affinity && numaMask(affinity),
    };
    const prefer: PreferDevices = async (available, mustInclude, size) => {
      t.is(size, given.required);
      t.true(mustInclude.every((id) => available.includes(id)));
      return prefers;
    };
    const chosen = chooseDevices(choice, prefer);
    if (gets instanceof RegExp) await t.throwsAsync(chosen, { message: gets });
    else t.deepEqual(await chosen, gets);
  });

test('no device is chosen twice, and none that somebody has: at random', async (t) => {
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  for (let round = 0; round < 500; round++) {
    const ids = Array.from({ length: 1 + random(8) }, (_, index) => `d${index}`);
    const devices: Devices = new Map(
      ids.map((id) => [id, { isHealthy: random(5) > 0, ...(random(2) && { numaNodes: [random(3)] }) }]),
    );
    const healthy = ids.filter((id) => devices.get(id)!.isHealthy);
    const inUse = new Set(ids.filter(() => random(3) === 0));
    const reusable = new Set([...inUse].filter(() => random(2) === 0));
    const required = 1 + random(4);
    const usable = healthy.filter((id) => !inUse.has(id) || reusable.has(id));
    const affinity = random(2) ? numaMask([random(3)]) : undefined;
    const choice = { resource: 'x.com/d', required, devices, healthy, inUse, reusable, affinity };
    const chosen = await chooseDevices(choice, async (available) =>
      random(2) ? available.filter(() => random(2)) : undefined,
    ).catch(() => undefined);
    t.is(chosen !== undefined, usable.length >= required);
    if (!chosen) continue;
    t.is(new Set(chosen).size, required);
    t.true(chosen.every((id) => usable.includes(id)));
  }
});

test('a resource without any topology has no affinity to keep', (t) => {
  const sorted = sortByAffinity(['a', 'b'], devicesOf('a b'), numaMask([0]));
  t.deepEqual(sorted, { aligned: [], unaligned: [], noAffinity: ['a', 'b'] });
});
