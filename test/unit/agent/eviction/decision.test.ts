import test from 'ava';
import { CALM, computeEviction, type EvictionState } from '../../../../agent/eviction/decision.ts';
import { observe } from '../../../../agent/eviction/observations.ts';
import { parseThresholds } from '../../../../agent/eviction/thresholds.ts';
import { fsWith, GI, MI, type NodeLevels, summaryOf } from './stats.ts';

const THRESHOLDS = parseThresholds(
  {
    evictionHard: { 'nodefs.available': '10%', 'memory.available': '100Mi', 'pid.available': '50' },
    evictionSoft: { 'memory.available': '1Gi' },
    evictionSoftGracePeriod: { 'memory.available': '30s' },
    evictionMinimumReclaim: { 'nodefs.available': '5Gi' },
  },
  true,
);
const TRANSITION_MS = 300_000;

/** Plays looks one after another; each is [seconds, what the node has]. */
function play(looks: [atSeconds: number, levels: NodeLevels][]) {
  let state: EvictionState = CALM;
  return looks.map(([atSeconds, levels]) => {
    const decision = computeEviction(state, THRESHOLDS, observe(summaryOf(levels)), {
      nowMs: atSeconds * 1000,
      transitionPeriodMs: TRANSITION_MS,
    });
    ({ state } = decision);
    return { conditions: [...decision.conditions], starved: decision.starved.map(({ signal }) => signal) };
  });
}

test('a healthy node is left alone', (t) => {
  t.deepEqual(play([[0, {}]]), [{ conditions: [], starved: [] }]);
});

for (const [what, levels, condition, signal] of [
  ['memory', { memoryAvailable: 99 * MI }, 'MemoryPressure', 'memory.available'],
  ["the pods' memory", { podsAvailable: 99 * MI }, 'MemoryPressure', 'allocatableMemory.available'],
  ['disk', { nodeFs: fsWith(0.09) }, 'DiskPressure', 'nodefs.available'],
  ['processes', { processes: 951 }, 'PIDPressure', 'pid.available'],
] as const)
  test(`short of ${what}: at once`, (t) => {
    t.deepEqual(play([[0, levels]]), [{ conditions: [condition], starved: [signal] }]);
  });

test('exactly at the threshold there is no pressure', (t) => {
  t.deepEqual(play([[0, { memoryAvailable: GI }]]), [{ conditions: [], starved: [] }]);
});

test('a soft threshold sets the condition at once, and costs a pod only after its grace', (t) => {
  const low = { memoryAvailable: GI / 2 };
  const looks = play([
    [0, low],
    [29, low],
    [30, low],
  ]);
  t.deepEqual(looks, [
    { conditions: ['MemoryPressure'], starved: [] },
    { conditions: ['MemoryPressure'], starved: [] },
    { conditions: ['MemoryPressure'], starved: ['memory.available'] },
  ]);
});

test('a moment above the soft threshold starts its grace anew', (t) => {
  const looks = play([
    [0, { memoryAvailable: GI / 2 }],
    [20, { memoryAvailable: 2 * GI }],
    [31, { memoryAvailable: GI / 2 }],
  ]);
  t.deepEqual(looks[2]!.starved, []);
});

test('the minimum reclaim must be reached before a threshold that starved is over', (t) => {
  const looks = play([
    [0, { nodeFs: fsWith(0.09) }],
    [10, { nodeFs: fsWith(0.12) }],
    [20, { nodeFs: fsWith(0.151) }],
    [30, { nodeFs: fsWith(0.12) }],
  ]);
  t.deepEqual(
    looks.map(({ starved }) => starved),
    [['nodefs.available'], ['nodefs.available'], [], []],
  );
});

test('R12: a condition stays for the transition period after it was caused last, however the level swings', (t) => {
  const low = { memoryAvailable: 50 * MI };
  const looks = play([
    [0, low],
    [10, {}],
    [200, low],
    [210, {}],
    [499, {}],
    [500, {}],
    [510, {}],
  ]);
  t.deepEqual(
    looks.map(({ conditions }) => conditions.length),
    [1, 1, 1, 1, 1, 0, 0],
  );
  t.deepEqual(
    looks.map(({ starved }) => starved.length),
    [1, 0, 1, 0, 0, 0, 0],
  );
});

test('memory is more urgent than everything else', (t) => {
  const [look] = play([[0, { nodeFs: fsWith(0.01), processes: 999, memoryAvailable: MI, podsAvailable: MI }]]);
  t.deepEqual(look!.starved.slice(0, 2).toSorted(), ['allocatableMemory.available', 'memory.available']);
  t.deepEqual(look!.conditions.toSorted(), ['DiskPressure', 'MemoryPressure', 'PIDPressure']);
});
