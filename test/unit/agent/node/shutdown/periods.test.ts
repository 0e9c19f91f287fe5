import test from 'ava';
import {
  computeShutdownPeriods,
  groupByPriority,
  shutdownDelayMs,
} from '../../../../../agent/node/shutdown/periods.ts';
import type { Pod } from '../../../../../src/kube/types.ts';

const pod = (name: string, priority?: number) => ({ metadata: { name }, spec: { priority } }) as unknown as Pod;

test('nothing configured: no steps', (t) => {
  t.deepEqual(computeShutdownPeriods({ graceMs: 0, criticalMs: 0, byPriority: [] }), []);
});

test('two steps: all, then the critical ones in the last part of the whole', (t) => {
  const periods = computeShutdownPeriods({ graceMs: 30_000, criticalMs: 10_000, byPriority: [] });
  t.deepEqual(periods, [
    { priority: 0, seconds: 20 },
    { priority: 2_000_000_000, seconds: 10 },
  ]);
  t.is(shutdownDelayMs(periods), 30_000);
});

test('a list by priority is sorted', (t) => {
  const byPriority = [
    { priority: 1000, shutdownGracePeriodSeconds: 60 },
    { priority: 0, shutdownGracePeriodSeconds: 120 },
    { priority: 10, shutdownGracePeriodSeconds: 30 },
  ];
  const periods = computeShutdownPeriods({ graceMs: 0, criticalMs: 0, byPriority });
  t.deepEqual(
    periods.map(({ priority }) => priority),
    [0, 10, 1000],
  );
  t.is(shutdownDelayMs(periods), 210_000);
});

// Rows of upstream's own documentation of graceful shutdown by priority.
const periods = [
  { priority: 0, seconds: 60 },
  { priority: 1000, seconds: 120 },
  { priority: 10_000, seconds: 180 },
  { priority: 100_000, seconds: 10 },
];
const rows: [priority: number | undefined, group: number][] = [
  [undefined, 0],
  [-5, 0],
  [0, 0],
  [999, 0],
  [1000, 1000],
  [1001, 1000],
  [9999, 1000],
  [10_000, 10_000],
  [99_999, 10_000],
  [100_000, 100_000],
  [2_000_001_000, 100_000],
];
for (const [priority, expected] of rows)
  test(`priority ${priority} ends with the pods from ${expected} on`, (t) => {
    const groups = groupByPriority(periods, [pod('p', priority)]);
    t.is(groups.find(({ pods }) => pods.length > 0)?.priority, expected);
  });

test('below the lowest step: with the lowest', (t) => {
  const groups = groupByPriority([{ priority: 100, seconds: 1 }], [pod('p', 5), pod('q')]);
  t.is(groups[0]?.pods.length, 2);
  t.deepEqual(groupByPriority([], [pod('p')]), []);
});
