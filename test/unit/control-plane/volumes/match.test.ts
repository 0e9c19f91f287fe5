import test from 'ava';
import { findVolume, type MatchOptions, whyUnsuitable } from '../../../../control-plane/volumes/match.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../../src/kube/types.ts';
import { makeNode } from '../controllers/scene.ts';
import { makeClaim, makeVolume } from './samples.ts';

const onNode = (...names: string[]) => ({
  nodeAffinity: {
    required: {
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: names }] }],
    },
  },
});
const other = makeClaim('other');

const CASES: [string, PersistentVolumeClaim, PersistentVolume[], string | undefined, MatchOptions?][] = [
  [
    'the smallest that is large enough',
    makeClaim('c', { size: '2Gi' }),
    [makeVolume('huge', { size: '9Gi' }), makeVolume('small'), makeVolume('fit', { size: '3Gi' })],
    'fit',
  ],
  ['sizes by value, not by text', makeClaim('c', { size: '1000Mi' }), [makeVolume('v', { size: '1Gi' })], 'v'],
  ['among equals the first by name', makeClaim('c'), [makeVolume('b'), makeVolume('a')], 'a'],
  ['none is large enough', makeClaim('c', { size: '2Gi' }), [makeVolume('v')], undefined],
  ['not what is bound', makeClaim('c'), [makeVolume('v', { phase: 'Bound', of: other })], undefined],
  [
    'not what is released: somebody’s data is on it',
    makeClaim('c'),
    [makeVolume('v', { phase: 'Released' })],
    undefined,
  ],
  ['not what nobody has looked at yet', makeClaim('c'), [makeVolume('v', { phase: 'Pending' })], undefined],
  ['not what is being deleted', makeClaim('c'), [makeVolume('v', { deleted: true })], undefined],
  [
    'not what is reserved for another, before that one comes',
    makeClaim('c'),
    [makeVolume('v', { spec: { claimRef: { namespace: 'default', name: 'other' } } })],
    undefined,
  ],
  ['not what is promised', makeClaim('c'), [makeVolume('a'), makeVolume('b')], 'b', { taken: new Set(['a']) }],
  [
    'the one that names the claim, whatever its size',
    makeClaim('c'),
    [makeVolume('a'), makeVolume('z', { size: '9Gi', spec: { claimRef: { namespace: 'default', name: 'c' } } })],
    'z',
  ],
  [
    'a namesake in another namespace is not meant',
    makeClaim('c'),
    [makeVolume('z', { spec: { claimRef: { namespace: 'x', name: 'c' } } })],
    undefined,
  ],
  [
    'a claim of the same name that is gone is not meant',
    makeClaim('c'),
    [makeVolume('z', { spec: { claimRef: { namespace: 'default', name: 'c', uid: 'old' } } })],
    undefined,
  ],
  [
    'of the class that is asked for',
    makeClaim('c', { spec: { storageClassName: 'fast' } }),
    [makeVolume('a'), makeVolume('b', { spec: { storageClassName: 'fast' } })],
    'b',
  ],
  [
    'a claim without a class takes none that has one',
    makeClaim('c'),
    [makeVolume('b', { spec: { storageClassName: 'fast' } })],
    undefined,
  ],
  [
    'the old annotation is a class too',
    makeClaim('c', { annotations: { 'volume.beta.kubernetes.io/storage-class': 'old' } }),
    [makeVolume('b', { annotations: { 'volume.beta.kubernetes.io/storage-class': 'old' } })],
    'b',
  ],
  [
    'all access modes must be offered',
    makeClaim('c', { spec: { accessModes: ['ReadWriteOnce', 'ReadOnlyMany'] } }),
    [
      makeVolume('a'),
      makeVolume('b', { size: '5Gi', spec: { accessModes: ['ReadOnlyMany', 'ReadWriteOnce', 'ReadWriteMany'] } }),
    ],
    'b',
  ],
  [
    'no block device for a file system',
    makeClaim('c'),
    [makeVolume('a', { spec: { volumeMode: 'Block' } })],
    undefined,
  ],
  [
    'the selector’s labels',
    makeClaim('c', { spec: { selector: { matchLabels: { tier: 'x' } } } }),
    [makeVolume('a'), makeVolume('b', { size: '5Gi', labels: { tier: 'x' } })],
    'b',
  ],
  [
    'only what the node reaches',
    makeClaim('c'),
    [makeVolume('a', { spec: onNode('n2') }), makeVolume('b', { spec: onNode('n1', 'n3') })],
    'b',
    { node: makeNode('n1') },
  ],
  [
    'a reserved one that the node does not reach is no reason to take another',
    makeClaim('c'),
    [makeVolume('a', { spec: { ...onNode('n2'), claimRef: { namespace: 'default', name: 'c' } } }), makeVolume('b')],
    undefined,
    { node: makeNode('n1') },
  ],
  [
    'while it waits for a consumer, only what is reserved',
    makeClaim('c'),
    [makeVolume('a')],
    undefined,
    { reservedOnly: true },
  ],
];

for (const [title, claim, volumes, expected, options] of CASES)
  test(`match: ${title}`, (t) => {
    t.is(findVolume(claim, volumes, options)?.metadata.name, expected);
  });

test('why a named volume is refused, in upstream’s words', (t) => {
  const claim = makeClaim('c', { size: '2Gi' });
  t.is(whyUnsuitable(makeVolume('v'), claim), 'requested PV is too small');
  t.is(
    whyUnsuitable(makeVolume('v', { size: '2Gi', spec: { storageClassName: 'x' } }), claim),
    'storageClassName does not match',
  );
  t.is(
    whyUnsuitable(makeVolume('v', { size: '2Gi', spec: { volumeMode: 'Block' } }), claim),
    'incompatible volumeMode',
  );
  t.is(
    whyUnsuitable(makeVolume('v', { size: '2Gi', spec: { accessModes: ['ReadOnlyMany'] } }), claim),
    'incompatible accessMode',
  );
  t.is(whyUnsuitable(makeVolume('v', { size: '2Gi' }), claim), undefined);
});
