import test from 'ava';
import { describeEviction } from '../../../../agent/eviction/message.ts';
import { observe } from '../../../../agent/eviction/observations.ts';
import type { Signal } from '../../../../agent/eviction/signals.ts';
import type { Threshold } from '../../../../agent/eviction/thresholds.ts';
import { fsWith, GI, MI, namedPod, statsOf, summaryOf } from './stats.ts';

const hard = (signal: Signal, amount: number): Threshold => ({ signal, value: { amount }, gracePeriodMs: 0 });

test("memory: upstream's words, and who used more than it asked for", (t) => {
  const pod = namedPod('p', {
    containers: [{ name: 'greedy' }, { name: 'modest', resources: { requests: { memory: '2048Mi' } } }],
  });
  const seen = observe(summaryOf({ memoryAvailable: 50 * MI }));
  const report = describeEviction(pod, statsOf(pod, { memory: 2 * GI }), [hard('memory.available', 100 * MI)], seen);
  t.is(
    report.message,
    'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ' +
      'Container greedy was using 1Gi, request is 0, has larger consumption of memory. ',
  );
  t.deepEqual(report.annotations, {
    offending_containers: 'greedy',
    offending_containers_usage: '1Gi',
    starved_resource: 'memory',
  });
});

test("memory: a pod's own request is told too", (t) => {
  const pod = namedPod('p', { resources: { requests: { memory: '1Gi' } } });
  const report = describeEviction(
    pod,
    statsOf(pod, { memory: 2 * GI }),
    [hard('allocatableMemory.available', 3 * GI)],
    observe(summaryOf()),
  );
  t.regex(report.message, / Pod p was using 2Gi, request is 1Gi, has larger consumption of memory\. Container app /);
  t.like(report.annotations, { offending_pod: 'p', offending_pod_usage: '2Gi' });
});

test('disk: layers and logs together', (t) => {
  const pod = namedPod('p');
  const seen = observe(summaryOf({ nodeFs: fsWith(0.05) }));
  const stats = statsOf(pod, { disk: { app: [GI, GI] } });
  const { message } = describeEviction(pod, stats, [hard('nodefs.available', 10 * GI)], seen);
  t.is(
    message,
    'The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 5Gi. ' +
      'Container app was using 2Gi, request is 0, has larger consumption of ephemeral-storage. ',
  );
});

for (const [signal, text] of [
  ['nodefs.inodesFree', 'The node was low on resource: inodes. Threshold quantity: 600k, available: 500k. '],
  ['pid.available', 'The node was low on resource: pids. Threshold quantity: 600k, available: 900. '],
] as const)
  test(`${signal}: nobody is blamed`, (t) => {
    const pod = namedPod('p');
    const report = describeEviction(pod, statsOf(pod, {}), [hard(signal, 600_000)], observe(summaryOf()));
    t.is(report.message, text);
    t.is(report.annotations['offending_containers'], '');
  });

test('a pod that was not measured', (t) => {
  const report = describeEviction(namedPod('p'), undefined, [hard('memory.available', GI)], new Map());
  t.deepEqual(report, { message: 'The node was low on resource: memory. ', annotations: {} });
});
