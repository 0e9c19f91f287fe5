import test from 'ava';
import { mergePatch } from '../../../../src/kube/schema/merge-patch.ts';
import { strategicMerge } from '../../../../src/kube/schema/strategic-merge.ts';
import { schemaOf } from '../../../../src/kube/schema/tables.ts';

type Fields = Record<string, unknown>;

const pod = schemaOf('v1', 'Pod')!;
const deployment = schemaOf('apps/v1', 'Deployment')!;
const named = (...names: string[]) => names.map((name) => ({ name }));

/** Each row as `kubectl patch --local --type=strategic` answers it. */
const cases: [what: string, original: Fields, patch: Fields, expected: Fields][] = [
  [
    'maps merge, null deletes',
    { metadata: { labels: { a: '1', b: '2' } } },
    { metadata: { labels: { a: null, c: '3' } } },
    { metadata: { labels: { b: '2', c: '3' } } },
  ],
  [
    'containers merge by name, new ones come first',
    {
      spec: {
        containers: [
          { name: 'a', image: '1' },
          { name: 'b', image: '2' },
        ],
      },
    },
    {
      spec: {
        containers: [
          { name: 'c', image: '3' },
          { name: 'b', image: '4' },
        ],
      },
    },
    {
      spec: {
        containers: [
          { name: 'c', image: '3' },
          { name: 'a', image: '1' },
          { name: 'b', image: '4' },
        ],
      },
    },
  ],
  [
    'lists of the same key in an element merge too',
    { spec: { containers: [{ name: 'a', env: [{ name: 'X', value: '1' }], command: ['x'] }] } },
    { spec: { containers: [{ name: 'a', env: [{ name: 'Y', value: '2' }], command: ['y'] }] } },
    {
      spec: {
        containers: [
          {
            name: 'a',
            env: [
              { name: 'Y', value: '2' },
              { name: 'X', value: '1' },
            ],
            command: ['y'],
          },
        ],
      },
    },
  ],
  [
    'ports merge by containerPort',
    { spec: { containers: [{ name: 'a', ports: [{ containerPort: 80, name: 'http' }] }] } },
    { spec: { containers: [{ name: 'a', ports: [{ containerPort: 80, name: 'web' }] }] } },
    { spec: { containers: [{ name: 'a', ports: [{ containerPort: 80, name: 'web' }] }] } },
  ],
  [
    'tolerations have no merge key: replaced',
    { spec: { tolerations: [{ key: 'a' }, { key: 'b' }] } },
    { spec: { tolerations: [{ key: 'c' }] } },
    { spec: { tolerations: [{ key: 'c' }] } },
  ],
  [
    'finalizers are a set',
    { metadata: { finalizers: ['a', 'b'] } },
    { metadata: { finalizers: ['c', 'b'] } },
    { metadata: { finalizers: ['c', 'a', 'b'] } },
  ],
  [
    '$deleteFromPrimitiveList',
    { metadata: { finalizers: ['a', 'b', 'c'] } },
    { metadata: { '$deleteFromPrimitiveList/finalizers': ['b', 'x'] } },
    { metadata: { finalizers: ['a', 'c'] } },
  ],
  [
    '$patch: delete takes an element out',
    { spec: { containers: named('a', 'b') } },
    { spec: { containers: [{ name: 'a', $patch: 'delete' }] } },
    { spec: { containers: named('b') } },
  ],
  [
    '$patch: replace in a list',
    { spec: { containers: named('a', 'b') } },
    { spec: { containers: [{ $patch: 'replace' }, { name: 'c' }] } },
    { spec: { containers: named('c') } },
  ],
  [
    '$patch: replace in a map',
    { spec: { nodeSelector: { a: '1', b: '2' } } },
    { spec: { nodeSelector: { $patch: 'replace', c: '3' } } },
    { spec: { nodeSelector: { c: '3' } } },
  ],
  [
    '$patch: delete of a map',
    { spec: { nodeSelector: { a: '1' } } },
    { spec: { nodeSelector: { $patch: 'delete' } } },
    { spec: { nodeSelector: {} } },
  ],
  [
    '$patch: replace of the whole',
    { spec: { hostNetwork: true }, metadata: { name: 'x' } },
    { $patch: 'replace', metadata: { name: 'y' } },
    { metadata: { name: 'y' } },
  ],
  [
    '$setElementOrder sorts what it names, others keep their place',
    { spec: { containers: named('a', 'b', 'c', 'd') } },
    { spec: { '$setElementOrder/containers': named('d', 'b') } },
    { spec: { containers: named('a', 'c', 'd', 'b') } },
  ],
  [
    '$setElementOrder with new and deleted elements',
    { spec: { containers: named('a', 'b', 'c') } },
    {
      spec: {
        '$setElementOrder/containers': named('c', 'new'),
        containers: [
          { name: 'new', image: 'n' },
          { name: 'b', $patch: 'delete' },
        ],
      },
    },
    { spec: { containers: [{ name: 'a' }, { name: 'c' }, { name: 'new', image: 'n' }] } },
  ],
  [
    '$setElementOrder of a set',
    { metadata: { finalizers: ['a', 'b'] } },
    { metadata: { '$setElementOrder/finalizers': ['c', 'b'], finalizers: ['c'] } },
    { metadata: { finalizers: ['c', 'a', 'b'] } },
  ],
  [
    '$setElementOrder of a list that is nowhere',
    { spec: {} },
    { spec: { '$setElementOrder/containers': named('a') } },
    { spec: {} },
  ],
  [
    '$retainKeys in a list element',
    { spec: { volumes: [{ name: 'v', emptyDir: {} }] } },
    { spec: { volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/x' } }] } },
    { spec: { volumes: [{ name: 'v', hostPath: { path: '/x' } }] } },
  ],
  [
    'what the original lacks comes without nulls and directives',
    { spec: {} },
    {
      spec: {
        nodeSelector: { a: '1', b: null },
        securityContext: { $patch: 'replace', runAsUser: 1 },
        volumes: [{ name: 'v', $retainKeys: ['name'] }],
      },
    },
    { spec: { nodeSelector: { a: '1' }, volumes: [{ name: 'v' }] } },
  ],
  [
    'a value of another type replaces',
    { spec: { nodeSelector: { a: '1' } } },
    { spec: { nodeSelector: 'x' } },
    { spec: { nodeSelector: 'x' } },
  ],
];
for (const [what, original, patch, expected] of cases) {
  test(`strategic merge: ${what}`, (t) => {
    const before = structuredClone({ original, patch });
    t.deepEqual(strategicMerge(original, patch, pod), expected);
    t.deepEqual({ original, patch }, before, 'arguments stay as they are');
  });
}

test('strategic merge: $retainKeys of a Deployment strategy', (t) => {
  const original = { spec: { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } } } };
  const patch = { spec: { strategy: { $retainKeys: ['type'], type: 'Recreate' } } };
  t.deepEqual(strategicMerge(original, patch, deployment), { spec: { strategy: { type: 'Recreate' } } });
});

const errors: [patch: Fields, message: RegExp][] = [
  [{ $patch: 'merge' }, /unknown patch type: "merge"/],
  [{ spec: { containers: [{ image: 'x' }] } }, /does not contain declared merge key: name/],
  [{ spec: { containers: ['x'] } }, /list element types are not identical/],
  [{ spec: { containers: [{ name: 'a', $patch: 'merge' }] } }, /merging lists cannot yet be specified/],
  [{ spec: { containers: [{ name: 'a', $patch: 'drop' }] } }, /unknown patch type: "drop"/],
  [{ spec: { '$setElementOrder/nothing': [] } }, /unable to find api field.*nothing/],
  [{ spec: { '$setElementOrder/containers': 'a' } }, /is not a list/],
  [{ spec: { '$setElementOrder/containers': named('a', 'b'), containers: named('b', 'a') } }, /order in patch list/],
  [{ spec: { $retainKeys: ['containers'], hostNetwork: true } }, /\$retainKeys.*hostNetwork/],
  [{ metadata: { '$deleteFromPrimitiveList/finalizers': 'a' } }, /is not a list/],
];
for (const [patch, message] of errors) {
  test(`strategic merge refuses ${JSON.stringify(patch)}`, (t) => {
    const original = { metadata: { finalizers: ['a'] }, spec: { containers: named('a', 'b') } };
    t.throws(() => strategicMerge(original, patch, pod), { name: 'PatchError', message });
  });
}

test('merge patch: the examples of RFC 7386', (t) => {
  const rows: [original: unknown, patch: unknown, result: unknown][] = [
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [original, patch, result] of rows) t.deepEqual(mergePatch(original, patch), result);
});
