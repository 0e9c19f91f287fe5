import test from 'ava';
import { decodeObject, parsePatch } from '../../../../src/kube/schema/decode-object.ts';

const json = (body: unknown) =>
  decodeObject(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), 'json');
const yaml = (body: string) => decodeObject(Buffer.from(body), 'yaml');
const pod = (spec: object, rest: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p' },
  spec,
  ...rest,
});

test('a valid object passes unchanged, its type first', (t) => {
  const object = pod({
    containers: [{ name: 'c', image: 'i', env: [{ name: 'E', value: 'v' }] }],
    terminationGracePeriodSeconds: 0,
  });
  const { object: decoded, problems } = json({
    spec: object.spec,
    metadata: object.metadata,
    kind: 'Pod',
    apiVersion: 'v1',
  });
  t.deepEqual(decoded, object as never);
  t.deepEqual(Object.keys(decoded).slice(0, 2), ['apiVersion', 'kind']);
  t.deepEqual(problems, []);
});

test('unknown and duplicate fields are dropped and reported by path, in order', (t) => {
  const { object, problems } = json(`{
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"a": "1", "a": "2"}},
    "spec": {
      "unknown1": "x", "unknown1": "y", "paused": true, "paused": false, "Replicas": 3,
      "selector": {"matchLabels": {"app": "x"}},
      "template": {"spec": {"containers": [{"name": "a"}, {"name": "c", "foo": 1, "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}
    }}`);
  t.deepEqual(problems, [
    'duplicate field "metadata.labels.a"',
    'unknown field "spec.unknown1"',
    'duplicate field "spec.paused"',
    'unknown field "spec.Replicas"',
    'unknown field "spec.template.spec.containers[1].foo"',
    'duplicate field "spec.template.spec.containers[1].imagePullPolicy"',
  ]);
  const spec = object['spec'] as { template: { spec: { containers: object[] } } };
  t.deepEqual(Object.keys(spec), ['selector', 'template']);
  t.deepEqual(spec.template.spec.containers[1], { name: 'c', imagePullPolicy: 'Never' });
});

test('fields of inline structs stand in their parent', (t) => {
  const { problems } = json(
    pod({
      volumes: [
        { name: 'v', emptyDir: {} },
        { name: 'w', volumeSource: {} },
      ],
    }),
  );
  t.deepEqual(problems, ['unknown field "spec.volumes[1].volumeSource"']);
});

test('null and empty values mean unset as in Go; pointers keep theirs', (t) => {
  const { object } = json(
    pod({
      nodeName: '',
      hostNetwork: false,
      priority: 0,
      nodeSelector: {},
      volumes: [{ name: 'v', emptyDir: {} }],
      securityContext: null,
      automountServiceAccountToken: false,
      containers: [{ name: '', env: [], resources: { limits: { cpu: null } } }],
    }),
  );
  t.deepEqual(object['spec'], {
    priority: 0,
    volumes: [{ name: 'v', emptyDir: {} }],
    automountServiceAccountToken: false,
    containers: [{ name: '', resources: { limits: { cpu: '0' } } }],
  });
});

test('metadata and spec are always there', (t) => {
  t.deepEqual(json({ apiVersion: 'v1', kind: 'Namespace' }).object, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {},
    spec: {},
  });
  t.deepEqual(json({ apiVersion: 'v1', kind: 'ConfigMap' }).object, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {},
  });
  const typed = decodeObject(Buffer.from('{"data":{"a":"b"}}'), 'json', { apiVersion: 'v1', kind: 'ConfigMap' });
  t.is(typed.object.kind, 'ConfigMap');
});

test('scalars come into their stored form', (t) => {
  const { object } = json(`{"apiVersion":"v1","kind":"Pod",
    "metadata":{"creationTimestamp":"2026-01-01T02:00:00.5+02:00","generation":9223372036854775807},
    "spec":{"containers":[{"name":"c","ports":[{"containerPort":80}],"livenessProbe":{"httpGet":{"port":"http"}},
      "resources":{"limits":{"cpu":1,"memory":"1024Mi","x":0.5,"big":9007199254740993}}}]}}`);
  const { metadata, spec } = object as unknown as {
    metadata: { creationTimestamp: string; generation: number };
    spec: { containers: [{ resources: { limits: object } }] };
  };
  t.is(metadata.creationTimestamp, '2026-01-01T00:00:00Z');
  t.true(BigInt(metadata.generation) < 2n ** 63n, 'still an int64 for Go clients');
  t.deepEqual(spec.containers[0].resources.limits, { cpu: '1', memory: '1Gi', x: '500m', big: '9007199254740993' });
  const secret = json({ apiVersion: 'v1', kind: 'Secret', data: { a: 'YWJj\nZGVm' } });
  t.deepEqual(secret.object['data'], { a: 'YWJjZGVm' });
  const lease = json({
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    spec: { renewTime: '2026-01-01T00:00:00Z' },
  });
  t.deepEqual(lease.object['spec'], { renewTime: '2026-01-01T00:00:00.000000Z' });
});

const mismatches: [body: unknown, message: string][] = [
  [
    pod({ containers: 'x' }),
    'json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container',
  ],
  [
    pod({ containers: [{ name: 5 }] }),
    'json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string',
  ],
  [
    pod({ hostNetwork: 'yes' }),
    'json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool',
  ],
  [
    pod({ priority: 3e9 }),
    'json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32',
  ],
  [
    pod({ priority: 1.5 }),
    'json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32',
  ],
  [
    { apiVersion: 'v1', kind: 'Pod', metadata: { labels: { a: 1 } } },
    'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string',
  ],
  [
    { apiVersion: 'v1', kind: 'Pod', metadata: [] },
    'json: cannot unmarshal array into Go struct field Pod.metadata of type v1.ObjectMeta',
  ],
  [
    pod({ containers: [{ name: 'c', resources: { limits: { cpu: 'much' } } }] }),
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
  ],
  [{ apiVersion: 'v1', kind: 'Secret', data: { a: 'YW*j' } }, 'illegal base64 data at input byte 2'],
  [
    { apiVersion: 'v1', kind: 'Pod', metadata: { creationTimestamp: 'now' } },
    'parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"',
  ],
  [
    { apiVersion: 'v1', kind: 'Pod', metadata: { creationTimestamp: 5 } },
    'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string',
  ],
  [
    '{"apiVersion":"v1","kind":"Pod","spec":{"priority":1.0}}',
    'json: cannot unmarshal number 1.0 into Go struct field PodSpec.spec.priority of type int32',
  ],
  [pod('x' as never), 'json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec'],
  [{ apiVersion: 'v1', kind: 'Pot' }, 'no kind "Pot" is registered for version "v1"'],
  [{ apiVersion: 'v1' }, `Object 'Kind' is missing in '{"apiVersion":"v1"}'`],
  [{ kind: 'Pod' }, `Object 'apiVersion' is missing in '{"kind":"Pod"}'`],
  ['{"kind":', 'unexpected end of JSON input'],
  ['[]', "couldn't get version/kind; json parse error: the body is not a JSON object"],
];
for (const [body, message] of mismatches) {
  test(`refused: ${message}`, (t) => {
    t.throws(() => json(body), { name: 'DecodeError', message });
  });
}

test('YAML is read by YAML 1.1, with the lines of keys given twice', (t) => {
  const { object, problems } = yaml(
    [
      'apiVersion: v1',
      'kind: Pod',
      'metadata: {name: p, creationTimestamp: 2026-01-01T00:00:00Z}',
      'spec:',
      '  hostNetwork: yes',
      '  hostNetwork: on',
      '  nope: 1',
      '  volumes:',
      '  - {name: v, configMap: {name: c, defaultMode: 0644}}',
      '---',
      'kind: Other',
    ].join('\n'),
  );
  t.deepEqual(problems, ['line 6: key "hostNetwork" already set in map', 'unknown field "spec.nope"']);
  t.deepEqual(object['spec'], {
    hostNetwork: true,
    volumes: [{ name: 'v', configMap: { name: 'c', defaultMode: 420 } }],
  });
});

test('JSON under the name of YAML, and bad YAML', (t) => {
  t.is(yaml('{"apiVersion":"v1","kind":"Pod"}').object.kind, 'Pod');
  t.is(yaml('{apiVersion: v1, kind: Pod}').object.kind, 'Pod');
  t.throws(() => yaml('a: [1'), { name: 'DecodeError', message: /^error converting YAML to JSON: yaml: line 1: / });
  const bomb = [
    'a: &a [1,1,1,1,1,1,1,1,1,1]',
    ...'bcdefgh'
      .split('')
      .map((key, index) => `${key}: &${key} [${`*${'abcdefg'[index]},`.repeat(9)}*${'abcdefg'[index]}]`),
  ];
  t.throws(() => yaml(bomb.join('\n')), { name: 'DecodeError', message: /excessive aliasing/ });
});

test('raw JSON in an object is left as it is', (t) => {
  const data = { nested: { null: null, empty: '', list: [] } };
  const { object, problems } = json({ apiVersion: 'apps/v1', kind: 'ControllerRevision', revision: 1, data });
  t.deepEqual(object['data'], data);
  t.deepEqual(problems, []);
});

test('a patch reports its duplicate keys', (t) => {
  t.deepEqual(parsePatch('{"spec":{"a":1,"a":2,"l":[{"b":null,"b":1}]}}'), {
    patch: { spec: { a: 2, l: [{ b: 1 }] } },
    problems: ['duplicate field "spec.a"', 'duplicate field "spec.l[0].b"'],
  });
});

test('a key named __proto__ is a key', (t) => {
  const { object } = json('{"apiVersion":"v1","kind":"ConfigMap","data":{"__proto__":"x"}}');
  t.deepEqual(Object.keys(object['data'] as object), ['__proto__']);
  t.is(Object.getPrototypeOf(object['data']), Object.prototype);
});

test('damaged text is refused or decoded, never anything else', (t) => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return Math.floor((seed / 2147483648) * below);
  };
  const body = JSON.stringify(
    pod({
      containers: [{ name: 'c', env: [{ name: 'E', value: 'v' }], resources: { limits: { cpu: 1.5, memory: '1Gi' } } }],
      terminationGracePeriodSeconds: 30,
      hostNetwork: true,
    }),
  );
  const manifest =
    'apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  hostNetwork: yes\n  containers:\n  - name: &c c\n    image: *c\n';
  const characters = '{}[]",:\\0-e.tn &*#|>%@!\n';
  for (let round = 0; round < 3000; round++) {
    const format = round % 2 === 0 ? 'json' : 'yaml';
    const text = format === 'json' ? body : manifest;
    const place = random(text.length);
    const damaged = text.slice(0, place) + characters[random(characters.length)] + text.slice(place + random(3));
    try {
      decodeObject(Buffer.from(damaged), format);
    } catch (error) {
      t.is((error as Error).name, 'DecodeError', `${damaged}\n${(error as Error).stack}`);
    }
  }
  t.pass();
});

test('times: offsets and leap days are understood, impossible days refused', (t) => {
  const decode = (time: string) =>
    (
      json({ apiVersion: 'v1', kind: 'Pod', metadata: { creationTimestamp: time } }).object['metadata'] as {
        creationTimestamp: string;
      }
    ).creationTimestamp;
  t.is(decode('2024-02-29T23:30:00-01:00'), '2024-03-01T00:30:00Z');
  for (const bad of [
    '2026-02-30T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-01-01 00:00:00Z',
    '2026-01-01T25:00:00Z',
    '9999-12-31T23:59:59-01:00',
  ]) {
    t.throws(() => decode(bad), { name: 'DecodeError', message: /parsing time/ });
  }
});
