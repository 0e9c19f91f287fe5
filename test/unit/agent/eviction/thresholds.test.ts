import test from 'ava';
import { observe } from '../../../../agent/eviction/observations.ts';
import { SIGNALS } from '../../../../agent/eviction/signals.ts';
import { amountOf, parseThresholds, withContainerFs } from '../../../../agent/eviction/thresholds.ts';
import { fsWith, GI, MI, summaryOf } from './stats.ts';

const NONE = { evictionHard: {}, evictionSoft: {}, evictionSoftGracePeriod: {}, evictionMinimumReclaim: {} };

test('hard and soft thresholds, grace and minimum reclaim', (t) => {
  const settings = {
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '10%' },
    evictionSoft: { 'memory.available': '1Gi' },
    evictionSoftGracePeriod: { 'memory.available': '1m30s', 'pid.available': '1s' },
    evictionMinimumReclaim: { 'nodefs.available': '500Mi', 'memory.available': '5%' },
  };
  const minReclaim = { fraction: Math.fround(0.05) };
  t.deepEqual(parseThresholds(settings, false), [
    { signal: 'memory.available', value: { amount: 100 * MI }, gracePeriodMs: 0, minReclaim },
    {
      signal: 'nodefs.available',
      value: { fraction: Math.fround(0.1) },
      gracePeriodMs: 0,
      minReclaim: { amount: 500 * MI },
    },
    { signal: 'memory.available', value: { amount: GI }, gracePeriodMs: 90_000, minReclaim },
  ]);
});

test('the hard threshold on memory counts inside the pods too, where they are held to their share', (t) => {
  const settings = { ...NONE, evictionHard: { 'memory.available': '100Mi' } };
  const [, inside, ...others] = parseThresholds(settings, true);
  t.deepEqual(inside, { signal: 'allocatableMemory.available', value: { amount: 100 * MI }, gracePeriodMs: 0 });
  t.deepEqual(others, []);
  const soft = { evictionSoft: { 'memory.available': '1Gi' }, evictionSoftGracePeriod: { 'memory.available': '1m' } };
  t.is(parseThresholds({ ...NONE, ...soft }, true).length, 1);
});

test('0 % and 100 % are no thresholds', (t) => {
  t.deepEqual(
    parseThresholds({ ...NONE, evictionHard: { 'memory.available': '0%', 'nodefs.available': '100%' } }, true),
    [],
  );
});

test('percentages are of the capacity, counted as a kubelet does', (t) => {
  const [threshold] = parseThresholds({ ...NONE, evictionHard: { 'nodefs.available': '10%' } }, false);
  t.is(amountOf(threshold!.value, 103_865_303_040), 10_386_530_458);
});

for (const [layout, copied] of [
  ['shared', 10],
  ['imagefs', 15],
] as const)
  test(`containerfs follows the file system it lies on: ${layout}`, (t) => {
    const evictionHard = {
      'nodefs.available': '10%',
      'nodefs.inodesFree': '4%',
      'imagefs.available': '15%',
      'containerfs.available': '99%',
    };
    const all = withContainerFs(parseThresholds({ ...NONE, evictionHard }, false), layout);
    const ours = all.filter(({ signal }) => signal === 'containerfs.available');
    t.deepEqual(
      ours.map(({ value }) => value),
      [{ fraction: Math.fround(Math.fround(copied) / 100) }],
    );
    t.is(
      all.some(({ signal }) => signal === 'containerfs.inodesFree'),
      layout === 'shared',
    );
  });

test('every signal is observed, by its own figures', (t) => {
  const levels = { memoryAvailable: 50 * MI, podsAvailable: 70 * MI, nodeFs: fsWith(0.07), imageFs: fsWith(0.2, 0.01) };
  const seen = observe(summaryOf({ ...levels, processes: 990 }));
  t.deepEqual([...seen.keys()].toSorted(), [...SIGNALS].toSorted());
  const values = (signal: Parameters<typeof seen.get>[0]) => {
    const { available, capacity } = seen.get(signal)!;
    return [available, capacity];
  };
  t.deepEqual(values('memory.available'), [50 * MI, 8 * GI]);
  t.deepEqual(values('allocatableMemory.available'), [70 * MI, 4 * GI]);
  t.deepEqual(values('nodefs.available'), [0.07 * 100 * GI, 100 * GI]);
  t.deepEqual(values('imagefs.inodesFree'), [10_000, 1_000_000]);
  t.deepEqual(values('containerfs.available'), [20 * GI, 100 * GI]);
  t.deepEqual(values('pid.available'), [10, 1000]);
});

test('what is not known starves nobody', (t) => {
  const { node } = summaryOf();
  t.is(observe({ node: { nodeName: node.nodeName, startTime: node.startTime } }).size, 0);
});
