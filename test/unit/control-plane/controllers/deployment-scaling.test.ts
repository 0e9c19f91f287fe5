import test from 'ava';
import {
  currentSize,
  isScalingEvent,
  rolloutBounds,
  scaleProportionally,
  shrinkOld,
} from '../../../../control-plane/controllers/deployment-scaling.ts';
import { equalTemplates, templateHash, withTemplateHash } from '../../../../control-plane/controllers/template-hash.ts';
import type { Deployment, ReplicaSet } from '../../../../src/kube/types.ts';

function deployment(replicas: number, maxSurge: number | string, maxUnavailable: number | string): Deployment {
  return {
    metadata: { name: 'web' },
    spec: { replicas, strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } } },
  } as Deployment;
}

let age = 0;
/** Each younger than the one before. */
function replicaSet(
  name: string,
  replicas: number,
  available = replicas,
  annotations: Record<string, string> = {},
): ReplicaSet {
  const creationTimestamp = new Date(Date.UTC(2026, 0, 1) + 1000 * age++).toISOString();
  return {
    metadata: { name, uid: name, creationTimestamp, annotations },
    spec: { replicas },
    status: { replicas: available, availableReplicas: available },
  } as unknown as ReplicaSet;
}

for (const [replicas, surge, unavailable, expected] of [
  [10, '25%', '25%', { maxSurge: 3, maxUnavailable: 2 }],
  [1, '25%', '25%', { maxSurge: 1, maxUnavailable: 0 }],
  [3, 0, 0, { maxSurge: 0, maxUnavailable: 1 }],
  [2, 1, 5, { maxSurge: 1, maxUnavailable: 2 }],
  [0, '25%', '25%', { maxSurge: 0, maxUnavailable: 0 }],
] as const)
  test(`bounds of ${replicas} replicas with surge ${surge} and unavailable ${unavailable}`, (t) => {
    t.deepEqual(rolloutBounds(deployment(replicas, surge, unavailable)), expected);
  });

for (const [what, current, old, expected] of [
  ['a fresh rollout takes the surge', 0, 10, 3],
  ['the room that shrunk ones left', 3, 5, 8],
  ['never more than wanted', 8, 0, 10],
  ['no room', 3, 10, 3],
  ['too big shrinks', 12, 0, 10],
] as const)
  test(`size of the current ReplicaSet: ${what}`, (t) => {
    const one = replicaSet('current', current);
    t.is(currentSize(deployment(10, 3, 2), [one, replicaSet('old', old)], one), expected);
  });

/** Upstream's table for reconcileOldReplicaSets. */
for (const [what, replicas, unavailable, sizes, expected] of [
  ['all available, nothing new yet', 10, 0, { current: [0, 0], old: [10, 10] }, undefined],
  ['as many as may be unavailable', 10, 2, { current: [0, 0], old: [10, 10] }, 8],
  ['unhealthy ones first', 10, 2, { current: [0, 0], old: [10, 8] }, 8],
  ['the new ones must be there before more old ones go', 10, 2, { current: [2, 0], old: [10, 10] }, 8],
  ['new and available frees old', 10, 2, { current: [2, 2], old: [10, 10] }, 6],
  ['a stuck rollout stays', 10, 2, { current: [4, 0], old: [8, 8] }, undefined],
] as const)
  test(`shrinking old ReplicaSets: ${what}`, (t) => {
    const current = replicaSet('current', sizes.current[0], sizes.current[1]);
    const old = replicaSet('old', sizes.old[0], sizes.old[1]);
    t.is(shrinkOld(deployment(replicas, 2, unavailable), current, [old])[0]?.replicas, expected);
  });

const MAX = 'deployment.kubernetes.io/max-replicas';
const DESIRED = 'deployment.kubernetes.io/desired-replicas';

test('scaling in the middle of a rollout is proportional, the rest goes to the biggest', (t) => {
  const was = { [MAX]: '13', [DESIRED]: '10' };
  const current = replicaSet('current', 5, 0, was);
  const old = replicaSet('old', 8, 8, was);
  const sizes = (replicas: number) =>
    scaleProportionally(deployment(replicas, 3, 2), current, [old]).map((one) => [
      one.replicaSet.metadata.name,
      one.replicas,
    ]);
  t.true(isScalingEvent(deployment(30, 3, 2), [current, old]));
  t.false(isScalingEvent(deployment(10, 3, 2), [current, old]));
  t.deepEqual(sizes(30), [
    ['old', 20],
    ['current', 13],
  ]);
  t.deepEqual(sizes(5), [
    ['old', 5],
    ['current', 3],
  ]);
  t.deepEqual(sizes(0), [
    ['old', 0],
    ['current', 0],
  ]);
});

test('scaling with one active ReplicaSet, or none', (t) => {
  const current = replicaSet('current', 0);
  const old = replicaSet('old', 4);
  t.deepEqual(scaleProportionally(deployment(7, 3, 2), current, [old]), [{ replicaSet: old, replicas: 7 }]);
  t.deepEqual(scaleProportionally(deployment(7, 3, 2), current, []), [{ replicaSet: current, replicas: 7 }]);
  const [one, two] = [replicaSet('one', 0), replicaSet('two', 0)];
  t.deepEqual(scaleProportionally(deployment(7, 3, 2), undefined, [two, one]), [{ replicaSet: two, replicas: 7 }]);
});

test('when the current one is full, the others are emptied', (t) => {
  const current = replicaSet('current', 5, 5, { [DESIRED]: '5' });
  const old = replicaSet('old', 2);
  t.deepEqual(scaleProportionally(deployment(5, 3, 2), current, [old]), [{ replicaSet: old, replicas: 0 }]);
});

test('template hash: stable over key order, different over content and collisions, in safe letters', (t) => {
  const template = { metadata: { labels: { a: 'b', c: 'd' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };
  const same = { spec: { containers: [{ image: 'i', name: 'c' }] }, metadata: { labels: { c: 'd', a: 'b' } } };
  t.is(templateHash(template), templateHash(same));
  t.not(templateHash(template), templateHash(template, 1));
  t.not(templateHash(template), templateHash({ ...template, spec: { containers: [{ name: 'c', image: 'j' }] } }));
  t.regex(templateHash(template), /^[bcdfghjklmnpqrstvwxz2456789]{1,10}$/);
  t.true(equalTemplates(template, withTemplateHash(same, 'xyz')));
  t.false(equalTemplates(template, { ...template, metadata: { labels: { a: 'x' } } }));
});
