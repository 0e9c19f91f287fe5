import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'ava';
import { deployments, serviceAccounts } from '../../../src/kube/resources.ts';
import type { Deployment } from '../../../src/kube/types.ts';
import { startTestControlPlane, type TestControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { createKubectl, findKubectl } from '../../support/kubectl.ts';

const found = await findKubectl();
// The name of the skipped test says why.
const check = 'program' in found ? test.serial : test.serial.skip;
const suffix = 'skip' in found ? ` (skipped: ${found.skip})` : '';

let controlPlane: TestControlPlane;
let kubectl: Awaited<ReturnType<typeof createKubectl>>;

test.before(async () => {
  controlPlane = await startTestControlPlane();
  await controlPlane.createNamespaces('default', 'other');
  const admin = await controlPlane.admin();
  for (const namespace of ['default', 'other'])
    await admin.create(serviceAccounts, { metadata: { name: 'default', namespace } }, { namespace });
  const pair = await controlPlane.credentials('admin', ['system:masters']);
  kubectl = await createKubectl('program' in found ? found.program : '', { ...controlPlane, pair });
});

test.after.always(async () => {
  await kubectl?.dispose();
  await controlPlane?.stop();
});

const deployment = (name: string, changes = '') => `
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name} }
spec:
  replicas: 2
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      containers:
        - { name: web, image: 'nginx:1', ports: [{ containerPort: 80 }] }
        - { name: side, image: 'busybox:1' }
${changes}`;

check(`discovery: version, api-resources, api-versions, short names${suffix}`, async (t) => {
  t.regex(await kubectl.ok(['version']), /Server Version: v1\.36\.0\+berth/);
  const resources = await kubectl.ok(['api-resources', '--no-headers']);
  for (const line of [/^pods +po +v1 +true +Pod$/m, /^deployments +deploy +apps\/v1 +true +Deployment$/m])
    t.regex(resources, line);
  t.regex(await kubectl.ok(['api-versions']), /^apps\/v1$/m);
  t.regex(await kubectl.ok(['get', 'ns']), /^default +Active/m);
  t.regex(await kubectl.ok(['api-resources', '--categories=all', '-o', 'name']), /^pods$/m);
});

check(`create sends protobuf; get shows it in every form${suffix}`, async (t) => {
  await kubectl.ok(['create', 'configmap', 'settings', '--from-literal=colour=blue']);
  t.regex(await kubectl.ok(['get', 'cm', 'settings']), /^NAME +DATA +AGE\nsettings +1 +\d+s$/m);
  t.is(await kubectl.ok(['get', 'cm', 'settings', '-o', 'jsonpath={.data.colour}']), 'blue');
  t.is(await kubectl.ok(['get', 'cm', 'settings', '-o', 'name']), 'configmap/settings\n');
  const again = await kubectl.run(['create', 'configmap', 'settings', '--from-literal=a=b']);
  t.is(again.stderr, 'error: failed to create configmap: configmaps "settings" already exists\n');
  await kubectl.ok(['create', 'deployment', 'quick', '--image=nginx:1', '--replicas=3']);
  t.is(await kubectl.ok(['get', 'deploy', 'quick', '-o', 'jsonpath={.spec.replicas}']), '3');
  await kubectl.ok(['create', 'secret', 'generic', 'key', '--from-literal=k=v']);
  t.is(await kubectl.ok(['get', 'secret', 'key', '-o', 'jsonpath={.data.k} {.type}']), 'dg== Opaque');
  await kubectl.ok(['delete', 'cm/settings', 'deploy/quick', 'secret/key']);
});

check(`apply: create, unchanged, three-way merge by key${suffix}`, async (t) => {
  t.is(await kubectl.ok(['apply', '-f', '-'], deployment('web')), 'deployment.apps/web created\n');
  t.is(await kubectl.ok(['apply', '-f', '-'], deployment('web')), 'deployment.apps/web unchanged\n');
  const admin = await controlPlane.admin();
  const before = await admin.get(deployments, { namespace: 'default', name: 'web' });
  const changed = deployment('web').replace('nginx:1', 'nginx:2').replace('replicas: 2', 'replicas: 5');
  t.is(await kubectl.ok(['apply', '-f', '-'], changed), 'deployment.apps/web configured\n');
  const after: Deployment = await admin.get(deployments, { namespace: 'default', name: 'web' });
  t.deepEqual(
    after.spec.template.spec!.containers.map((container) => [container.name, container.image]),
    [
      ['web', 'nginx:2'],
      ['side', 'busybox:1'],
    ],
  );
  t.is(after.metadata.uid, before.metadata.uid);
  t.is(after.metadata.generation, before.metadata.generation! + 1);
  t.is(after.spec.replicas, 5);
  // A container that the file no longer has goes.
  await kubectl.ok(['apply', '-f', '-'], changed.replace(/ +- \{ name: side.*\n/, ''));
  t.is(await kubectl.ok(['get', 'deploy', 'web', '-o', 'jsonpath={.spec.template.spec.containers[*].name}']), 'web');
});

check(`patch, label, annotate, scale, set image, edit by replace${suffix}`, async (t) => {
  await kubectl.ok(['apply', '-f', '-'], deployment('tuned'));
  const field = (path: string) => kubectl.ok(['get', 'deploy', 'tuned', '-o', `jsonpath={${path}}`]);
  await kubectl.ok(['patch', 'deploy', 'tuned', '-p', '{"spec":{"replicas":3}}']);
  t.is(await field('.spec.replicas'), '3');
  await kubectl.ok(['patch', 'deploy', 'tuned', '--type=merge', '-p', '{"spec":{"replicas":4}}']);
  const operations = [
    { op: 'test', path: '/spec/replicas', value: 4 },
    { op: 'replace', path: '/spec/replicas', value: 5 },
  ];
  await kubectl.ok(['patch', 'deploy', 'tuned', '--type=json', '-p', JSON.stringify(operations)]);
  t.is(await field('.spec.replicas'), '5');
  const failed = await kubectl.run(['patch', 'deploy', 'tuned', '--type=json', '-p', JSON.stringify(operations)]);
  t.is(failed.code, 1);
  t.regex(failed.stderr, /error in our request/);
  const unchanged = ['patch', 'deploy', 'tuned', '-p', '{"spec":{"replicas":5}}'];
  t.is(await kubectl.ok(unchanged), 'deployment.apps/tuned patched (no change)\n');
  await kubectl.ok(['label', 'deploy', 'tuned', 'tier=front']);
  await kubectl.ok(['annotate', 'deploy', 'tuned', 'note=one']);
  await kubectl.ok(['scale', 'deploy', 'tuned', '--replicas=6']);
  await kubectl.ok(['set', 'image', 'deploy/tuned', 'web=nginx:9']);
  t.is(
    await field(
      '.metadata.labels.tier} {.metadata.annotations.note} {.spec.replicas} {.spec.template.spec.containers[0].image',
    ),
    'front one 6 nginx:9',
  );
  const text = await kubectl.ok(['get', 'deploy', 'tuned', '-o', 'json']);
  await kubectl.ok(['replace', '-f', '-'], text.replace('"replicas": 6', '"replicas": 7'));
  t.is(await field('.spec.replicas'), '7');
  const stale = await kubectl.run(['replace', '-f', '-'], text.replace('"replicas": 6', '"replicas": 8'));
  t.regex(stale.stderr, /Conflict.*the object has been modified/s);
  await kubectl.ok(['label', 'deploy', 'tuned', 'tier-']);
  t.is(await kubectl.ok(['get', 'deploy', '-l', 'tier', '-o', 'name']), '');
});

check(`pods: run, describe, tables, field selectors, graceful delete${suffix}`, async (t) => {
  await kubectl.ok(['run', 'one', '--image=busybox', '--labels=a=b']);
  t.regex(await kubectl.ok(['get', 'po', 'one', '-o', 'wide']), /^one +0\/1 +Pending +0 +\d+s +<none>/m);
  t.regex(await kubectl.ok(['describe', 'po', 'one']), /Service Account: +default/);
  t.is(
    await kubectl.ok(['get', 'po', '--field-selector=status.phase=Pending,metadata.name!=x', '-o', 'name']),
    'pod/one\n',
  );
  const bad = await kubectl.run(['get', 'po', '--field-selector=spec.nope=1']);
  t.regex(bad.stderr, /field label not supported: spec\.nope/);
  // Nobody runs it: an unscheduled pod has no grace.
  await kubectl.ok(['delete', 'po', 'one']);
  t.regex((await kubectl.run(['get', 'po', 'one'])).stderr, /Error from server \(NotFound\): pods "one" not found/);
});

check(`services: expose, clusterIP, nodePort${suffix}`, async (t) => {
  await kubectl.ok(['apply', '-f', '-'], deployment('exposed'));
  await kubectl.ok(['expose', 'deploy', 'exposed', '--port=80', '--type=NodePort']);
  t.regex(
    await kubectl.ok(['get', 'svc', 'exposed']),
    /^exposed +NodePort +10\.\d+\.\d+\.\d+ +<none> +80:3\d{4}\/TCP/m,
  );
});

check(`explain reads OpenAPI${suffix}`, async (t) => {
  const text = await kubectl.ok(['explain', 'deployment.spec.strategy']);
  t.regex(text, /FIELD: strategy <DeploymentStrategy>/);
  t.regex(text, /rollingUpdate\s+<RollingUpdateDeployment>/);
  t.regex(await kubectl.ok(['explain', 'pod', '--recursive']), /livenessProbe\s+<Probe>/);
});

check(`bad manifests get errors with field paths and change nothing${suffix}`, async (t) => {
  const unknown = await kubectl.run(['create', '-f', '-'], deployment('bad').replace('replicas:', 'replicsa:'));
  t.is(unknown.code, 1);
  t.regex(unknown.stderr, /strict decoding error: unknown field "spec\.replicsa"/);
  const invalid = await kubectl.run(['apply', '-f', '-'], deployment('bad').replace('replicas: 2', 'replicas: -2'));
  t.regex(
    invalid.stderr,
    /The Deployment "bad" is invalid: spec\.replicas: Invalid value: -2: must be greater than or equal to 0/,
  );
  const wrongType = await kubectl.run(['create', '-f', '-'], deployment('bad').replace('replicas: 2', 'replicas: two'));
  t.regex(wrongType.stderr, /cannot be handled as a Deployment|json: cannot unmarshal/);
  const lenient = await kubectl.run(
    ['create', '--validate=warn', '-f', '-'],
    deployment('warned').replace('replicas:', 'replicsa:'),
  );
  t.is(lenient.code, 0);
  t.regex(lenient.stderr, /Warning: unknown field "spec\.replicsa"/);
  t.regex((await kubectl.run(['get', 'deploy', 'bad'])).stderr, /NotFound/);
});

check(`what is not supported yet says so${suffix}`, async (t) => {
  const apply = await kubectl.run(['apply', '--server-side', '-f', '-'], deployment('ssa'));
  t.regex(apply.stderr, /server-side apply .* is not supported by this server/);
  const dryRun = await kubectl.run(['create', 'cm', 'dry', '--dry-run=server']);
  t.is(dryRun.code, 1);
  t.regex(dryRun.stderr, /dry.?run/i);
  t.regex((await kubectl.run(['get', 'cm', 'dry'])).stderr, /NotFound/);
  await kubectl.ok(['run', 'shell', '--image=busybox']);
  const exec = await kubectl.run(['exec', 'shell', '--', 'ls']);
  t.not(exec.code, 0);
  await kubectl.ok(['delete', 'po', 'shell']);
});

check(`watch and wait see changes as they happen${suffix}`, async (t) => {
  const watching = spawn(kubectl.program, ['get', 'cm', '-w', '--no-headers', '-n', 'other'], { env: kubectl.env });
  let seen = '';
  watching.stdout.on('data', (chunk) => {
    seen += chunk;
  });
  const until = async (pattern: RegExp) => {
    await eventually(`${pattern}`, () => pattern.test(seen));
    t.regex(seen, pattern);
  };
  // The watch is on once an object made later shows up.
  await kubectl.ok(['create', 'cm', '-n', 'other', 'watched', '--from-literal=a=b']);
  await until(/^watched +1 /m);
  await kubectl.ok(['patch', 'cm', '-n', 'other', 'watched', '-p', '{"data":{"c":"d"}}']);
  await until(/^watched +2 /m);
  const waiting = kubectl.ok(['wait', '-n', 'other', '--for=delete', 'cm/watched', '--timeout=20s']);
  await kubectl.ok(['delete', 'cm', '-n', 'other', 'watched']);
  await waiting;
  watching.kill();
  await once(watching, 'close');

  await kubectl.ok(['apply', '-f', '-'], deployment('waited'));
  const condition = kubectl.ok(['wait', '--for=jsonpath={.status.readyReplicas}=2', 'deploy/waited', '--timeout=20s']);
  await kubectl.ok([
    'patch',
    'deploy',
    'waited',
    '--subresource=status',
    '-p',
    '{"status":{"readyReplicas":2,"replicas":2}}',
  ]);
  t.regex(await condition, /condition met/);
});

check(`delete: collection, cascade, all namespaces${suffix}`, async (t) => {
  await kubectl.ok(['create', 'cm', 'x1']);
  await kubectl.ok(['create', 'cm', 'x2']);
  await kubectl.ok(['label', 'cm', 'x1', 'x2', 'group=x']);
  t.regex(await kubectl.ok(['delete', 'cm', '-l', 'group=x']), /x1.*\n.*x2/);
  await kubectl.ok(['apply', '-f', '-'], deployment('orphaner'));
  await kubectl.ok(['delete', 'deploy', 'orphaner', '--cascade=orphan', '--wait=false']);
  const finalizers = ['get', 'deploy', 'orphaner', '-o', 'jsonpath={.metadata.finalizers}'];
  t.is(await kubectl.ok(finalizers), '["orphan"]');
  await kubectl.ok(['patch', 'deploy', 'orphaner', '--type=merge', '-p', '{"metadata":{"finalizers":null}}']);
  t.regex((await kubectl.run(['get', 'deploy', 'orphaner'])).stderr, /NotFound/);
  t.regex(await kubectl.ok(['get', 'all', '-A']), /deployment\.apps\/web/);
});
