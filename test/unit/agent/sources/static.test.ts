import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { createFileSource, parseManifest } from '../../../../agent/sources/file.ts';
import { createDesiredPods, type PodSink, type PodSource } from '../../../../agent/sources/source.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import type { Logger } from '../../../../src/runtime/log.ts';
import { until } from '../fake-agent.ts';
import { podOf } from '../pod.ts';

const CONTEXT = { nodeName: 'Node-1', origin: 'file:/m/web.yaml', nowMs: Date.UTC(2026, 0, 1) };
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

test('a manifest becomes a pod of this node, with the API’s defaults', (t) => {
  const pod = parseManifest(YAML, CONTEXT);
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
});

test('the UID follows content and place, not time', (t) => {
  const uid = (text: string, context = {}) => parseManifest(text, { ...CONTEXT, ...context }).metadata.uid;
  t.is(uid(YAML), uid(YAML, { nowMs: 5 }));
  t.not(uid(YAML), uid(YAML.replace('nginx', 'nginx:1')));
  t.not(uid(YAML), uid(YAML, { origin: 'file:/m/other.yaml' }));
  t.not(uid(YAML), uid(YAML, { nodeName: 'node-2' }));
});

test('JSON too, and a UID of its own is kept', (t) => {
  const json = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'j', namespace: 'kube-system', uid: 'mine' },
    spec: { containers: [{ name: 'a', image: 'i:1' }] },
  };
  t.like(parseManifest(JSON.stringify(json), CONTEXT).metadata, {
    name: 'j-node-1',
    namespace: 'kube-system',
    uid: 'mine',
  });
});

const spec = (text: string) => `apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: ${text}\n`;
for (const [title, text, message] of [
  ['no document', '', /expected one document, found 0/],
  ['two documents', `${YAML}---\n${YAML}`, /expected one document, found 2/],
  ['syntax', 'a: [', /at line 1/],
  [
    'another kind',
    'apiVersion: apps/v1\nkind: Deployment\n',
    /expected apiVersion v1, kind Pod, found apiVersion apps\/v1, kind Deployment/,
  ],
  ['no spec', 'apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n', /^spec: required/],
  ['bad name', YAML.replace('name: web', 'name: Web_1'), /^metadata\.name: "Web_1" is not a DNS/],
  ['no containers', spec('{containers: []}'), /^spec\.containers: at least one/],
  ['no image', spec('{containers: [{name: a}]}'), /^spec\.containers\[0\]\.image: required/],
  ['name twice', spec('{containers: [{name: a, image: i}], initContainers: [{name: a, image: i}]}'), /a is used twice/],
  [
    'a secret',
    spec('{containers: [{name: a, image: i, envFrom: [{secretRef: {name: s}}]}]}'),
    /envFrom\[0\]: a static pod may not refer/,
  ],
  [
    'a config map volume',
    spec('{containers: [{name: a, image: i}], volumes: [{name: v, configMap: {name: c}}]}'),
    /^spec\.volumes\[0\]: a static pod may not refer/,
  ],
  [
    'a service account',
    spec('{serviceAccountName: s, containers: [{name: a, image: i}]}'),
    /^spec\.serviceAccountName/,
  ],
] as [string, string, RegExp][])
  test(`refused: ${title}`, (t) => {
    t.throws(() => parseManifest(text, CONTEXT), { message });
  });

test('a directory of manifests: seen at once, bad ones named once, changes noticed', async (t) => {
  const path = await mkdtemp('/tmp/berth-unit-manifests-');
  t.teardown(() => rm(path, { recursive: true, force: true }));
  const problems: string[] = [];
  const log = {
    error: (fields: { file: string }, message: string) => problems.push(`${fields.file.slice(path.length)} ${message}`),
  } as unknown as Logger;
  await writeFile(join(path, 'web.yaml'), YAML);
  await writeFile(join(path, 'again.yaml'), YAML);
  await writeFile(join(path, '.hidden.yaml'), YAML);
  await writeFile(join(path, 'bad.yaml'), 'kind: Pod');
  await mkdir(join(path, 'sub'));
  const sets: Pod[][] = [];
  const sink: PodSink = { set: (pods) => sets.push(pods), upsert() {}, remove() {} };
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const source = createFileSource({ path, nodeName: 'n', rescanMs: 50 }, { clock: systemClock, log });
  const running = source.run(sink, stop.signal);
  await until('first set', () => sets.length >= 3);
  t.deepEqual(
    sets[0]!.map(({ metadata }) => metadata.name),
    ['web-n'],
  );
  t.is(sets.at(-1)![0], sets[0]![0], 'an unchanged manifest stays the same object');
  t.is(problems.length, 2);
  t.regex(problems.find((p) => p.startsWith('/bad'))!, /static pod manifest ignored: expected apiVersion v1/);
  t.regex(problems.find((p) => p.startsWith('/web'))!, /another manifest makes pod default\/web-n already/);
  await rm(join(path, 'again.yaml'));
  await rm(join(path, 'web.yaml'));
  await until('removed', () => sets.at(-1)!.length === 0);
  stop.abort();
  await running;
});

test('a directory that is not there yet holds no pods', async (t) => {
  const path = `/tmp/berth-unit-manifests-${process.pid}-late`;
  const sets: Pod[][] = [];
  const stop = new AbortController();
  const source = createFileSource({ path, nodeName: 'n', rescanMs: 20 }, { clock: systemClock, log: {} as Logger });
  const running = source.run({ set: (pods) => sets.push(pods), upsert() {}, remove() {} }, stop.signal);
  await until('an empty set', () => sets.length > 0);
  await mkdir(path);
  await writeFile(join(path, 'web.yaml'), YAML);
  await until('the pod', () => sets.at(-1)!.length === 1);
  stop.abort();
  await running;
  await rm(path, { recursive: true });
  t.pass();
});

test('merge: synced after all first sets; sets are diffs per source', async (t) => {
  const sinks: Record<string, PodSink> = {};
  const source = (name: 'api' | 'file'): PodSource => ({
    name,
    async run(sink) {
      sinks[name] = sink;
    },
  });
  const log: string[] = [];
  const desired = createDesiredPods([source('api'), source('file')], {
    updated: (pod) => log.push(`+${pod.metadata.uid}`),
    removed: (uid) => log.push(`-${uid}`),
    synced: () => log.push('synced'),
  });
  await desired.run(new AbortController().signal);
  const pod = (uid: string) => podOf({}, { uid });
  sinks['file']!.set([pod('f1')]);
  sinks['api']!.set([pod('a1'), pod('a2')]);
  sinks['api']!.set([pod('a2'), pod('a3')]);
  sinks['api']!.remove('f1');
  sinks['file']!.set([]);
  t.deepEqual(log, ['+f1', '+a1', '+a2', 'synced', '-a1', '+a2', '+a3', '-f1']);
  t.deepEqual(
    desired.list().map(({ metadata }) => metadata.uid),
    ['a2', 'a3'],
  );
});
