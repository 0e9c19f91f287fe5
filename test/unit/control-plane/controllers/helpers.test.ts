import test from 'ava';
import { withCondition, withoutCondition } from '../../../../control-plane/controllers/conditions.ts';
import { createOwnWrites } from '../../../../control-plane/controllers/own-writes.ts';
import { computeClaims } from '../../../../control-plane/controllers/ownership.ts';
import { rankForDeletion } from '../../../../control-plane/controllers/pod-ranking.ts';
import { sameStatus } from '../../../../control-plane/controllers/same-status.ts';
import { runSlowStart } from '../../../../control-plane/controllers/slow-start.ts';
import type { Informer } from '../../../../src/kube/informer.ts';
import { labelSelector } from '../../../../src/kube/selectors.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { makePod } from './scene.ts';

const NOW = Date.parse('2026-01-02T00:00:00Z');
const on = (name: string, nodeName: string, parts: object = {}) =>
  makePod(name, { ready: true, ...parts, spec: { nodeName } });
const cost = (value: string) => ({
  metadata: { annotations: { 'controller.kubernetes.io/pod-deletion-cost': value } },
});
const restarted = (restartCount: number) => ({
  status: {
    phase: 'Running',
    containerStatuses: [{ restartCount }],
    conditions: makePod('x', { ready: true }).status!.conditions,
  },
});

for (const [what, worth, worthLess] of [
  ['without a node', on('a', 'n'), makePod('b', { ready: true })],
  ['pending', on('a', 'n'), on('b', 'n', { ready: false })],
  ['not ready', on('a', 'n'), on('b', 'n', { status: { phase: 'Running', conditions: [] } })],
  ['cheap', on('a', 'n', cost('10')), on('b', 'n', cost('-10'))],
  ['with siblings on its node', on('a', 'n'), on('b', 'crowded')],
  [
    'ready for a shorter time',
    on('a', 'n', { ready: '2026-01-01T00:00:00Z' }),
    on('b', 'n', { ready: '2026-01-01T23:59:00Z' }),
  ],
  ['restarted more often', on('a', 'n', restarted(1)), on('b', 'n', restarted(3))],
  [
    'younger',
    on('a', 'n', { metadata: { creationTimestamp: '2026-01-01T00:00:00Z' } }),
    on('b', 'n', { metadata: { creationTimestamp: '2026-01-01T23:00:00Z' } }),
  ],
] as [string, Pod, Pod][])
  test(`deletion ranking: a pod that is ${what} goes first`, (t) => {
    const siblings = new Map([
      ['n', 1],
      ['crowded', 5],
    ]);
    t.deepEqual(
      rankForDeletion([worth, worthLess], siblings, NOW).map(({ metadata }) => metadata.name),
      ['b', 'a'],
    );
  });

test('slow start: 1, 2, 4 … and no further after a failure', async (t) => {
  const batches: number[] = [];
  let open = 0;
  const all = await runSlowStart(10, async (index) => {
    if (open++ === 0) queueMicrotask(() => batches.push(open));
    await new Promise((resolve) => setImmediate(resolve));
    open = 0;
    return index;
  });
  t.deepEqual(batches, [1, 2, 4, 3]);
  t.deepEqual(all.results, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  let calls = 0;
  const failed = await runSlowStart(100, async (index) => {
    calls++;
    if (index === 2) throw new Error('quota');
    return index;
  });
  t.is(calls, 3);
  t.deepEqual([failed.results, (failed.error as Error).message], [[0, 1], 'quota']);
});

test('own writes are awaited until the copy shows them, but not for ever', async (t) => {
  const clock = createFakeClock();
  const held = new Map<string, Pod>();
  let version = '10';
  const informer = { resourceVersion: () => version, get: (key: string) => held.get(key) } as unknown as Informer<Pod>;
  const writes = createOwnWrites(informer, clock);
  const pod = makePod('a', { metadata: { resourceVersion: '11' } });
  t.true(writes.areSeen('k'));
  writes.wrote('k', pod);
  t.false(writes.areSeen('k'));
  t.true(writes.areSeen('other'));
  version = '11';
  t.true(writes.areSeen('k'));
  held.set('default/a', pod);
  writes.deleted('k', pod);
  t.false(writes.areSeen('k'));
  held.set('default/a', { ...pod, metadata: { ...pod.metadata, uid: 'successor' } });
  t.true(writes.areSeen('k'));
  writes.wrote('k', { ...pod, metadata: { ...pod.metadata, resourceVersion: '99' } });
  t.false(writes.areSeen('k'));
  await clock.advance(writes.patienceMs);
  t.true(writes.areSeen('k'));
});

test('claims: by controller and selector; an owner that is going takes nobody in', (t) => {
  const owner = makePod('owner');
  const by = (uid: string) => ({
    ownerReferences: [{ uid, controller: true, apiVersion: 'v1', kind: 'X', name: 'x' }],
  });
  const pods = [
    makePod('mine', { metadata: by('uid-owner') }),
    makePod('strayed', { labels: { app: 'x' }, metadata: by('uid-owner') }),
    makePod('theirs', { metadata: by('other') }),
    makePod('orphan'),
    makePod('dying', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }),
    makePod('stranger', { labels: { app: 'x' } }),
  ];
  const names = (claims: ReturnType<typeof computeClaims<Pod>>) =>
    [claims.owned, claims.adopt, claims.release].map((list) => list.map(({ metadata }) => metadata.name));
  const selector = labelSelector({ matchLabels: { app: 'web' } });
  t.deepEqual(names(computeClaims(owner, selector, pods)), [['mine'], ['orphan'], ['strayed']]);
  const going = makePod('owner', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } });
  t.deepEqual(names(computeClaims(going, selector, pods)), [['mine'], [], []]);
});

test('conditions: transition times move only with the status', (t) => {
  const first = { type: 'A', status: 'True', reason: 'X', lastTransitionTime: '1' };
  const list = withCondition([], first);
  t.deepEqual(withCondition(list, { ...first, lastTransitionTime: '2' }), [first]);
  t.is(withCondition(list, { ...first, reason: 'Y', lastTransitionTime: '2' })[0]!.lastTransitionTime, '1');
  t.is(withCondition(list, { ...first, status: 'False', lastTransitionTime: '2' })[0]!.lastTransitionTime, '2');
  t.deepEqual(withoutCondition(list, 'A'), []);
});

test('a status with zeros is the same as one without', (t) => {
  t.true(sameStatus({ replicas: 0, conditions: [] }, undefined));
  t.true(sameStatus({ replicas: 1, readyReplicas: 0 }, { replicas: 1 }));
  t.false(sameStatus({ replicas: 1 }, { replicas: 2 }));
});
