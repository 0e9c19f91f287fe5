import test from 'ava';
import { findLimitViolation } from '../../../../agent/eviction/local-storage.ts';
import { GI, MI, namedPod, statsOf, type Use } from './stats.ts';

const limited = (limits: Record<string, string>, spec: object = {}) =>
  namedPod('p', {
    ...spec,
    containers: Object.entries(limits).map(([name, limit]) => ({
      name,
      ...(limit && { resources: { limits: { 'ephemeral-storage': limit } } }),
    })),
  });
const scratch = (sizeLimit: string) => ({ volumes: [{ name: 'scratch', emptyDir: { sizeLimit } }] });

for (const [what, pod, use, expected] of [
  [
    'a volume over its limit',
    namedPod('p', scratch('1Gi')),
    { volumes: { scratch: GI + 1 } },
    ['emptydirfs.limit', 'Usage of EmptyDir volume "scratch" exceeds the limit "1Gi". '],
  ],
  ['a volume at its limit', namedPod('p', scratch('1Gi')), { volumes: { scratch: GI } }, undefined],
  ['a volume without a limit', namedPod('p', scratch('0')), { volumes: { scratch: GI } }, undefined],
  ['a volume that nobody measured', namedPod('p', scratch('1')), {}, undefined],
  [
    'the pod over the sum of its containers',
    limited({ a: '1Gi', b: '1Gi' }),
    { ephemeral: 2 * GI + 1 },
    ['ephemeralpodfs.limit', 'Pod ephemeral local storage usage exceeds the total limit of containers 2Gi. '],
  ],
  ['the pod within it', limited({ a: '1Gi', b: '1Gi' }), { ephemeral: 2 * GI }, undefined],
  ['a pod without limits', limited({ a: '' }), { ephemeral: 100 * GI }, undefined],
  [
    'CVE-2020-8557: a pod that only writes to its /etc/hosts',
    limited({ a: '10Mi' }),
    // The sum of the pod's storage holds the node's files of the pod; layers, logs and volumes are empty.
    { ephemeral: 11 * MI },
    ['ephemeralpodfs.limit', 'Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. '],
  ],
  [
    'a container over its own limit, in layer and logs together',
    limited({ a: '1Gi', b: '5Gi' }),
    { ephemeral: 2 * GI, disk: { a: [GI / 2, GI / 2 + 1] } },
    ['ephemeralcontainerfs.limit', 'Container a exceeded its local ephemeral storage limit "1Gi". '],
  ],
  ['a container within it', limited({ a: '1Gi' }), { ephemeral: GI, disk: { a: [GI / 2, GI / 2] } }, undefined],
] as [string, ReturnType<typeof namedPod>, Use, [string, string] | undefined][])
  test(what, (t) => {
    const violation = findLimitViolation(pod, statsOf(pod, use), 'shared');
    t.deepEqual(violation && [violation.signal, violation.message], expected);
  });

test('where the Engine has a file system of its own, only logs count for a container, as upstream', (t) => {
  const pod = limited({ a: '1Gi' });
  t.is(findLimitViolation(pod, statsOf(pod, { disk: { a: [5 * GI, GI] } }), 'imagefs'), undefined);
  t.is(
    findLimitViolation(pod, statsOf(pod, { disk: { a: [0, GI + 1] } }), 'imagefs')?.signal,
    'ephemeralcontainerfs.limit',
  );
});
