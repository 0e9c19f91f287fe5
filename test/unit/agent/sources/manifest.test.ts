import test from 'ava';
import { parseManifest } from '../../../../agent/sources/manifest.ts';
import { buildStaticPod, type StaticPodContext } from '../../../../agent/sources/static-pod.ts';

const CONTEXT: StaticPodContext = {
  nodeName: 'Node-1',
  source: 'file',
  origin: '/m/web.yaml',
  nowMs: Date.UTC(2026, 0, 1),
};
const YAML = `
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: app
    image: nginx
    ports: [{containerPort: 80}]
    resources: {limits: {cpu: "1"}}
    readinessProbe: {httpGet: {port: 80}}
`;

function build(text: string, context: Partial<StaticPodContext> = {}) {
  const [item] = parseManifest(text, { lists: false });
  if (!item?.pod) throw new Error(item?.problem);
  return buildStaticPod(item.pod, { ...CONTEXT, ...context });
}

test('a manifest becomes a pod of this node, with the API’s defaults', (t) => {
  const pod = build(YAML);
  t.like(pod.metadata, { name: 'web-node-1', namespace: 'default', labels: { app: 'web' } });
  t.regex(pod.metadata.uid, /^[0-9a-f]{32}$/);
  t.like(pod.metadata.annotations, {
    'kubernetes.io/config.source': 'file',
    'kubernetes.io/config.hash': pod.metadata.uid,
  });
  t.like(pod.spec, {
    nodeName: 'Node-1',
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    tolerations: [{ operator: 'Exists', effect: 'NoExecute' }],
  });
  t.like(pod.spec.containers[0]!, {
    imagePullPolicy: 'Always',
    terminationMessagePath: '/dev/termination-log',
    ports: [{ containerPort: 80, protocol: 'TCP' }],
    resources: { limits: { cpu: '1' }, requests: { cpu: '1' } },
  });
  t.like(pod.spec.containers[0]!.readinessProbe!, {
    periodSeconds: 10,
    timeoutSeconds: 1,
    failureThreshold: 3,
    successThreshold: 1,
    httpGet: { path: '/', scheme: 'HTTP' },
  });
  t.is(pod.status?.phase, 'Pending');
});

test('the UID follows content and place, not time, order, comments or notation', (t) => {
  const uid = (text: string, context = {}) => build(text, context).metadata.uid;
  t.is(uid(YAML), uid(YAML, { nowMs: 5 }));
  t.is(uid(YAML), uid(`# a comment\n${YAML.replace('"1"', "'1'")}`));
  const json = {
    spec: {
      containers: [
        {
          image: 'nginx',
          readinessProbe: { httpGet: { port: 80 } },
          resources: { limits: { cpu: '1' } },
          ports: [{ containerPort: 80 }],
          name: 'app',
        },
      ],
    },
    metadata: { labels: { app: 'web' }, name: 'web' },
    kind: 'Pod',
    apiVersion: 'v1',
  };
  t.is(uid(YAML), uid(JSON.stringify(json, undefined, 2)));
  t.not(uid(YAML), uid(YAML.replace('nginx', 'nginx:1')));
  t.not(uid(YAML), uid(YAML, { origin: '/m/other.yaml' }));
  t.not(uid(YAML), uid(YAML, { nodeName: 'node-2' }));
  const url = { source: 'http', origin: 'http://manifests/' } as const;
  t.is(uid(YAML, url), uid(YAML, { ...url, nodeName: 'node-2' }), 'one URL means one pod on every node');
});

test('what comes from a URL says so, and is not spared by taints', (t) => {
  const pod = build(YAML, { source: 'http', origin: 'http://manifests/' });
  t.is(pod.metadata.annotations?.['kubernetes.io/config.source'], 'http');
  t.is(pod.spec.tolerations, undefined);
});

test('a UID of its own is kept', (t) => {
  const json = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'j', namespace: 'kube-system', uid: 'mine' },
    spec: { containers: [{ name: 'a', image: 'i:1' }] },
  };
  t.like(build(JSON.stringify(json)).metadata, { name: 'j-node-1', namespace: 'kube-system', uid: 'mine' });
});

const spec = (text: string) => `apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: ${text}\n`;
const container = (text: string) => spec(`{containers: [{name: a, image: i, ${text}}]}`);
for (const [title, text, message] of [
  ['nothing', '', /^expected one document, found 0$/],
  ['a comment', '# nothing\n', /^expected a Pod object$/],
  ['two documents', `${YAML}---\n${YAML}`, /^expected one document, found 2$/],
  ['YAML syntax', 'a: [', /line 1/],
  ['a tab', 'apiVersion: v1\n\tkind: Pod\n', /line 2/],
  ['JSON syntax', '{"apiVersion": "v1", "kind": "Pod",', /line 1|unexpected end|invalid/i],
  ['a list', '- a\n', /^expected a Pod object$/],
  ['binary', '\u0000\u0001\u0002', /./],
  [
    'another kind',
    'apiVersion: apps/v1\nkind: Deployment\n',
    /^expected apiVersion v1, kind Pod, found apiVersion apps\/v1, kind Deployment$/,
  ],
  ['a PodList in a file', 'apiVersion: v1\nkind: PodList\nitems: []\n', /kind Pod, found apiVersion v1, kind PodList/],
  ['no type', 'metadata: {name: x}\n', /found apiVersion \(none\), kind \(none\)/],
  ['no metadata', 'apiVersion: v1\nkind: Pod\nspec: {containers: []}\n', /^metadata: required$/],
  ['no spec', 'apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n', /^spec: required$/],
  ['no name', YAML.replace('name: web', 'namespace: web'), /^metadata\.name: required$/],
  ['bad name', YAML.replace('name: web', 'name: Web_1'), /^metadata\.name: "Web_1" is not a DNS/],
  ['bad namespace', YAML.replace('name: web', 'name: web\n  namespace: a.b'), /^metadata\.namespace: "a\.b" is not/],
  ['unknown field', container('comand: [x]'), /^unknown field "spec\.containers\[0\]\.comand"$/],
  ['a key twice', YAML.replace('spec:', 'spec: {}\nspec:'), /key "spec" already set/],
  ['a wrong type', container('ports: [{containerPort: eighty}]'), /cannot unmarshal string .*containerPort/],
  ['no containers', spec('{containers: []}'), /^spec\.containers: at least one/],
  ['no image', spec('{containers: [{name: a}]}'), /^spec\.containers\[0\]\.image: required/],
  [
    'name twice',
    spec('{containers: [{name: a, image: i}], initContainers: [{name: a, image: i}]}'),
    /spec\.containers\[0\]\.name: a is used twice/,
  ],
  ['port', container('ports: [{containerPort: 70000}]'), /ports\[0\]\.containerPort: 70000 is not a port/],
  ['mount', container('volumeMounts: [{name: v, mountPath: /v}]'), /volumeMounts\[0\]\.name: no volume "v"/],
  [
    'restart policy',
    spec('{restartPolicy: Sometimes, containers: [{name: a, image: i}]}'),
    /^spec\.restartPolicy: "Sometimes"/,
  ],
  ['probe', container('livenessProbe: {periodSeconds: 1}'), /livenessProbe: one handler of/],
  [
    'probe threshold',
    container('livenessProbe: {exec: {command: [x]}, successThreshold: 2}'),
    /successThreshold: 2 is not 1/,
  ],
  [
    'a secret',
    container('envFrom: [{secretRef: {name: s}}]'),
    /envFrom\[0\]\.secretRef: static pods may not reference secrets/,
  ],
  [
    'a config map key',
    container('env: [{name: E, valueFrom: {configMapKeyRef: {name: c, key: k}}}]'),
    /env\[0\]\..*static pods may not reference configmaps/,
  ],
  [
    'a pull secret',
    spec('{imagePullSecrets: [{name: s}], containers: [{name: a, image: i}]}'),
    /^spec\.imagePullSecrets: static pods may not/,
  ],
  [
    'a service account',
    spec('{serviceAccountName: s, containers: [{name: a, image: i}]}'),
    /^spec\.serviceAccountName: static pods may not reference serviceaccounts/,
  ],
  ...[
    ['configMap: {name: c}', 'configmaps'],
    ['secret: {secretName: s}', 'secrets'],
    ['persistentVolumeClaim: {claimName: c}', 'persistentvolumeclaims'],
    ['csi: {driver: d}', 'csidrivers'],
    ['ephemeral: {volumeClaimTemplate: {spec: {}}}', 'persistentvolumeclaims'],
    ['projected: {sources: [{serviceAccountToken: {path: t}}]}', 'serviceaccounts'],
    ['projected: {sources: [{clusterTrustBundle: {name: b, path: t}}]}', 'clustertrustbundles'],
  ].map(([volume, resource]) => [
    `a volume of ${resource}: ${volume}`,
    spec(`{containers: [{name: a, image: i}], volumes: [{name: v, ${volume}}]}`),
    new RegExp(`^spec\\.volumes\\[0\\]\\..*: static pods may not reference ${resource}`),
  ]),
] as [string, string, RegExp][])
  test(`refused: ${title}`, (t) => {
    t.throws(() => build(text), { message });
  });

test('all mistakes of a manifest are told at once', (t) => {
  t.throws(() => build(spec('{containers: [{name: A}, {name: b}]}')), {
    message:
      'spec.containers[0].name: "A" is not a DNS label; spec.containers[0].image: required; spec.containers[1].image: required',
  });
});

test('the downward API needs no API server', (t) => {
  const volume = 'projected: {sources: [{downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}]}';
  t.notThrows(() =>
    build(spec(`{containers: [{name: a, image: i}], volumes: [{name: v, ${volume}}, {name: e, emptyDir: {}}]}`)),
  );
});

test('a list: each item for itself', (t) => {
  const list = `
apiVersion: v1
kind: PodList
items:
- metadata: {name: one, namespace: ns}
  spec: {containers: [{name: a, image: i}]}
- metadata: {name: two}
  spec: {containers: [{name: a, image: i, prots: []}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: three}
  spec: {containers: [{name: a, image: 7}]}
- nonsense
`;
  const items = parseManifest(list, { lists: true });
  t.deepEqual(
    items.map(({ path, key, pod, problem }) => [path, key, pod?.metadata.name ?? problem]),
    [
      ['items[0]', 'ns/one', 'one'],
      ['items[1]', 'default/two', 'unknown field "spec.containers[0].prots"'],
      ['items[2]', 'default/three', items[2]!.problem!],
      ['items[3]', undefined, 'expected a Pod object'],
    ],
  );
  t.regex(items[2]!.problem!, /image of type string/);
  t.deepEqual(parseManifest('{"apiVersion":"v1","kind":"PodList"}', { lists: true }), []);
});
