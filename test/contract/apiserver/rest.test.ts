import test, { type ExecutionContext } from 'ava';
import { startTestControlPlane, type TestControlPlane } from '../../support/control-plane.ts';
import { createRawClient, type RawClient } from '../../support/raw-api.ts';

let controlPlane: TestControlPlane;
let api: RawClient;

test.before(async () => {
  controlPlane = await startTestControlPlane();
  const pair = await controlPlane.credentials('admin', ['system:masters']);
  api = createRawClient(controlPlane, { http: 2, pair });
});

test.after.always(async () => {
  api?.close();
  await controlPlane?.stop();
});

/** Each test works in a namespace of its own. */
async function space(t: ExecutionContext) {
  const namespace = t.title
    .replaceAll(/[^a-z0-9]+/gi, '-')
    .toLowerCase()
    .slice(0, 60)
    .replace(/-$/, '');
  await controlPlane.createNamespaces(namespace);
  const base = `/api/v1/namespaces/${namespace}`;
  const send = (method: string, path: string, body?: object, headers?: Record<string, string>) =>
    api.send({ method, path: path.startsWith('/') ? path : `${base}/${path}`, body, headers });
  const configMap = (name: string, more: object = {}) => send('POST', 'configmaps', { metadata: { name }, ...more });
  return { namespace, base, send, configMap };
}

const JSON_PATCH = { 'content-type': 'application/json-patch+json' };
const MERGE_PATCH = { 'content-type': 'application/merge-patch+json' };
const STRATEGIC_PATCH = { 'content-type': 'application/strategic-merge-patch+json' };

test('create fills in system metadata and ignores what clients must not set', async (t) => {
  const { namespace, send } = await space(t);
  const created = await send('POST', 'configmaps', {
    metadata: {
      name: 'one',
      uid: 'mine',
      creationTimestamp: '2001-01-01T00:00:00Z',
      deletionTimestamp: '2001-01-01T00:00:00Z',
      generation: 7,
      labels: {},
    },
  });
  t.is(created.status, 201);
  const { metadata } = created.json;
  t.is(metadata.namespace, namespace);
  t.regex(metadata.uid, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  t.regex(metadata.creationTimestamp, /^20[2-9]\d-.*Z$/);
  t.deepEqual([metadata.deletionTimestamp, metadata.generation, metadata.labels], [undefined, undefined, undefined]);
  t.regex(metadata.resourceVersion, /^\d+$/);
  const again = await send('POST', 'configmaps', { metadata: { name: 'one' } });
  t.like(again.json, { code: 409, reason: 'AlreadyExists', message: 'configmaps "one" already exists' });
  t.deepEqual(again.json.details, { name: 'one', kind: 'configmaps' });
  const versioned = await send('POST', 'configmaps', { metadata: { name: 'two', resourceVersion: '1' } });
  t.like(versioned.json, { code: 400, message: 'resourceVersion should not be set on objects to be created' });
});

test('generateName makes names that don’t collide', async (t) => {
  const { send } = await space(t);
  const made = await Promise.all(
    Array.from({ length: 20 }, () => send('POST', 'configmaps', { metadata: { generateName: 'gen-' } })),
  );
  const names = made.map((answer) => answer.json.metadata.name);
  t.is(new Set(names).size, 20);
  for (const name of names) t.regex(name, /^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
});

test('invalid objects get every cause with its field', async (t) => {
  const { send, configMap } = await space(t);
  const bad = await send('POST', 'configmaps', { metadata: { name: 'Bad_Name', labels: { 'a b': 'c' } } });
  t.is(bad.status, 422);
  t.regex(
    bad.json.message,
    /^ConfigMap "Bad_Name" is invalid: \[metadata\.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain/,
  );
  t.deepEqual(
    bad.json.details.causes.map((cause: { reason: string; field: string }) => [cause.reason, cause.field]),
    [
      ['FieldValueInvalid', 'metadata.name'],
      ['FieldValueInvalid', 'metadata.labels'],
    ],
  );
  t.is((await send('POST', 'configmaps', {})).json.details.causes[0].reason, 'FieldValueRequired');
  const strict = await send('POST', 'configmaps?fieldValidation=Strict', { metadata: { name: 's' }, dtaa: {} });
  t.like(strict.json, { code: 400, reason: 'BadRequest' });
  t.is(
    strict.json.message,
    'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dtaa"',
  );
  const warned = await configMap('w', { dtaa: {} });
  t.is(warned.status, 201);
  t.is(warned.headers.warning, '299 - "unknown field \\"dtaa\\""');
  const wrongKind = await send('POST', 'configmaps', { kind: 'Secret', apiVersion: 'v1', metadata: { name: 'k' } });
  t.is(wrongKind.status, 400);
  t.is((await send('POST', 'configmaps?dryRun=All', { metadata: { name: 'dry' } })).status, 400);
  t.is((await send('GET', 'configmaps/dry')).status, 404);
});

test('namespaces must exist and take new content', async (t) => {
  const { send } = await space(t);
  const absent = await send('POST', '/api/v1/namespaces/absent/configmaps', { metadata: { name: 'x' } });
  t.like(absent.json, { code: 404, message: 'namespaces "absent" not found' });
  const elsewhere = await send('POST', 'configmaps', { metadata: { name: 'x', namespace: 'other' } });
  t.regex(elsewhere.json.message, /does not match the namespace sent on the request/);
  await controlPlane.createNamespaces('ending');
  const deleted = await send('DELETE', '/api/v1/namespaces/ending');
  t.is(deleted.json.status.phase, 'Terminating');
  t.truthy(deleted.json.metadata.deletionTimestamp);
  const late = await send('POST', '/api/v1/namespaces/ending/configmaps', { metadata: { name: 'x' } });
  t.is(late.status, 403);
  t.is(late.json.details.causes[0].reason, 'NamespaceTerminating');
  // The namespace controller's last step.
  const namespace = (await send('GET', '/api/v1/namespaces/ending')).json;
  namespace.spec.finalizers = [];
  t.is((await send('PUT', '/api/v1/namespaces/ending/finalize', namespace)).status, 200);
  t.is((await send('GET', '/api/v1/namespaces/ending')).status, 404);
});

test('updates: conflicts, no-ops, unconditional writes', async (t) => {
  const { send, configMap } = await space(t);
  const first = (await configMap('u', { data: { a: '1' } })).json;
  const second = (await send('PUT', 'configmaps/u', { ...first, data: { a: '2' } })).json;
  t.true(Number(second.metadata.resourceVersion) > Number(first.metadata.resourceVersion));
  const stale = await send('PUT', 'configmaps/u', { ...first, data: { a: '3' } });
  t.like(stale.json, {
    code: 409,
    reason: 'Conflict',
    message:
      'Operation cannot be fulfilled on configmaps "u": the object has been modified; please apply your changes to the latest version and try again',
  });
  const noOp = (await send('PUT', 'configmaps/u', second)).json;
  t.is(noOp.metadata.resourceVersion, second.metadata.resourceVersion);
  const forced = await send('PUT', 'configmaps/u', { metadata: { name: 'u' }, data: { a: '4' } });
  t.is(forced.status, 200);
  t.is(forced.json.metadata.uid, first.metadata.uid);
  t.like((await send('PUT', 'configmaps/u', { metadata: { name: 'v' } })).json, {
    code: 400,
    message: 'the name of the object (v) does not match the name on the URL (u)',
  });
  t.is((await send('PUT', 'configmaps/absent', { metadata: { name: 'absent' } })).status, 404);
  const otherUid = { metadata: { name: 'u', uid: 'other' } };
  t.regex((await send('PUT', 'configmaps/u', otherUid)).json.message, /Precondition failed: UID/);
});

test('leases are created by update and need a resourceVersion after', async (t) => {
  const { send, namespace } = await space(t);
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/l`;
  const made = await send('PUT', path, { metadata: { name: 'l' }, spec: { holderIdentity: 'a' } });
  t.is(made.status, 201);
  const blind = await send('PUT', path, { metadata: { name: 'l' }, spec: { holderIdentity: 'b' } });
  t.is(blind.status, 422);
  t.regex(blind.json.message, /metadata\.resourceVersion: Invalid value: 0: must be specified for an update/);
});

test('patches of all three kinds; concurrent ones all arrive', async (t) => {
  const { send, configMap } = await space(t);
  await configMap('p', { data: { a: '1', b: '2' } });
  const merged = await send('PATCH', 'configmaps/p', { data: { a: null, c: '3' } }, MERGE_PATCH);
  t.deepEqual(merged.json.data, { b: '2', c: '3' });
  const operations = [
    { op: 'add', path: '/data/d', value: '4' },
    { op: 'remove', path: '/data/b' },
  ];
  const jsonPatched = await send('PATCH', 'configmaps/p', operations, JSON_PATCH);
  t.deepEqual(jsonPatched.json.data, { c: '3', d: '4' });
  const failing = [{ op: 'test', path: '/data/c', value: 'no' }];
  t.is((await send('PATCH', 'configmaps/p', failing, JSON_PATCH)).status, 422);
  t.is((await send('PATCH', 'configmaps/absent', {}, MERGE_PATCH)).status, 404);
  t.is((await send('PATCH', 'configmaps/p', {}, { 'content-type': 'application/json' })).status, 415);
  const apply = await send('PATCH', 'configmaps/p', {}, { 'content-type': 'application/apply-patch+yaml' });
  t.is(apply.status, 415);
  t.regex(apply.json.message, /server-side apply/);
  const stale = await send('PATCH', 'configmaps/p', { metadata: { resourceVersion: '1' } }, MERGE_PATCH);
  t.is(stale.status, 409);
  t.is((await send('PATCH', 'configmaps/p', { metadata: { name: 'q' } }, MERGE_PATCH)).status, 400);
  const before = (await send('GET', 'configmaps/p')).json.metadata.resourceVersion;
  const noOp = await send('PATCH', 'configmaps/p', { data: { c: '3' } }, STRATEGIC_PATCH);
  t.is(noOp.json.metadata.resourceVersion, before);
  const many = await Promise.all(
    Array.from({ length: 5 }, (_, index) =>
      send('PATCH', 'configmaps/p', { data: { [`k${index}`]: 'x' } }, STRATEGIC_PATCH),
    ),
  );
  t.true(many.every((answer) => answer.status === 200));
  t.is(Object.keys((await send('GET', 'configmaps/p')).json.data).length, 7);
  const proto = await send('PATCH', 'configmaps/p', JSON.parse('{"data":{"__proto__":"x"}}'), MERGE_PATCH);
  t.true(Object.hasOwn(proto.json.data, '__proto__'));
});

test('status is written by its own endpoint only, without generation', async (t) => {
  const { send, namespace } = await space(t);
  const deployments = `/apis/apps/v1/namespaces/${namespace}/deployments`;
  const template = {
    metadata: { labels: { a: 'b' } },
    spec: { containers: [{ name: 'c', image: 'i' }] },
  };
  const spec = { replicas: 1, selector: { matchLabels: { a: 'b' } }, template };
  const created = (await send('POST', deployments, { metadata: { name: 'd' }, spec, status: { replicas: 9 } })).json;
  t.is(created.metadata.generation, 1);
  t.is(created.status?.replicas, undefined);
  const status = await send(
    'PATCH',
    `${deployments}/d/status`,
    { spec: { replicas: 5 }, status: { replicas: 3 } },
    MERGE_PATCH,
  );
  t.is(status.json.status.replicas, 3);
  t.is(status.json.spec.replicas, 1);
  t.is(status.json.metadata.generation, 1);
  const scaled = await send('PATCH', `${deployments}/d/scale`, { spec: { replicas: 4 } }, MERGE_PATCH);
  t.like(scaled.json, { kind: 'Scale', apiVersion: 'autoscaling/v1', spec: { replicas: 4 } });
  const after = (await send('PUT', `${deployments}/d`, { metadata: { name: 'd' }, spec: { ...spec, replicas: 4 } }))
    .json;
  t.is(after.metadata.generation, 2);
  t.is(after.status.replicas, 3);
});

test('finalizers keep an object until the last is gone', async (t) => {
  const { send, configMap } = await space(t);
  await configMap('f', { metadata: { name: 'f', finalizers: ['example.com/hold'] } });
  const marked = await send('DELETE', 'configmaps/f');
  t.is(marked.status, 200);
  t.truthy(marked.json.metadata.deletionTimestamp);
  t.is(marked.json.metadata.deletionGracePeriodSeconds, 0);
  const again = await send('DELETE', 'configmaps/f');
  t.is(again.json.metadata.resourceVersion, marked.json.metadata.resourceVersion);
  const more = { metadata: { finalizers: ['example.com/hold', 'example.com/more'] } };
  t.regex((await send('PATCH', 'configmaps/f', more, MERGE_PATCH)).json.message, /no new finalizers can be added/);
  const released = await send('PATCH', 'configmaps/f', { metadata: { finalizers: null } }, MERGE_PATCH);
  t.is(released.status, 200);
  t.is((await send('GET', 'configmaps/f')).status, 404);
});

test('deletes: preconditions, propagation, answer', async (t) => {
  const { send, configMap } = await space(t);
  const { uid } = (await configMap('d')).json.metadata;
  t.is((await send('DELETE', 'configmaps/d', { preconditions: { uid: 'other' } })).status, 409);
  t.is((await send('DELETE', 'configmaps/d', { propagationPolicy: 'Sideways' })).status, 422);
  const both = { propagationPolicy: 'Orphan', orphanDependents: true };
  t.is((await send('DELETE', 'configmaps/d', both)).status, 422);
  const foreground = await send('DELETE', 'configmaps/d?propagationPolicy=Foreground');
  t.deepEqual(foreground.json.metadata.finalizers, ['foregroundDeletion']);
  await send('PATCH', 'configmaps/d', { metadata: { finalizers: null } }, MERGE_PATCH);
  const { uid: second } = (await configMap('d')).json.metadata;
  t.not(second, uid);
  const gone = await send('DELETE', 'configmaps/d', {
    kind: 'DeleteOptions',
    apiVersion: 'v1',
    preconditions: { uid: second },
  });
  t.deepEqual(gone.json, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { name: 'd', kind: 'configmaps', uid: second },
  });
  t.is((await send('DELETE', 'configmaps/d')).json.message, 'configmaps "d" not found');
  t.is((await send('DELETE', '/api/v1/namespaces/default')).status === 200, false);
});

test('pods go gracefully: grace can only become shorter', async (t) => {
  const { send, namespace } = await space(t);
  await send('POST', 'serviceaccounts', { metadata: { name: 'default' } });
  await send('POST', '/api/v1/nodes', { metadata: { name: `node-${namespace}`.slice(0, 60) } });
  const spec = { nodeName: `node-${namespace}`.slice(0, 60), containers: [{ name: 'c', image: 'i' }] };
  t.is((await send('POST', 'pods', { metadata: { name: 'p' }, spec })).status, 201);
  const first = (await send('DELETE', 'pods/p')).json;
  t.is(first.metadata.deletionGracePeriodSeconds, 30);
  const leftMs = Date.parse(first.metadata.deletionTimestamp) - Date.now();
  t.true(leftMs > 25_000 && leftMs <= 31_000);
  const longer = (await send('DELETE', 'pods/p?gracePeriodSeconds=60')).json;
  t.is(longer.metadata.deletionGracePeriodSeconds, 30);
  const shorter = (await send('DELETE', 'pods/p', { gracePeriodSeconds: 5 })).json;
  t.is(shorter.metadata.deletionGracePeriodSeconds, 5);
  t.true(Date.parse(shorter.metadata.deletionTimestamp) < Date.parse(first.metadata.deletionTimestamp));
  const last = await send('DELETE', 'pods/p', { gracePeriodSeconds: 0, preconditions: { uid: first.metadata.uid } });
  t.is(last.json.status, 'Success');
  t.is((await send('GET', 'pods/p')).status, 404);
});

test('binding sets the node once', async (t) => {
  const { send, namespace } = await space(t);
  await send('POST', 'serviceaccounts', { metadata: { name: 'default' } });
  const spec = { containers: [{ name: 'c', image: 'i' }] };
  await send('POST', 'pods', { metadata: { name: 'p' }, spec });
  const binding = { metadata: { name: 'p' }, target: { kind: 'Node', name: 'n1' } };
  const bound = await send('POST', 'pods/p/binding', binding);
  t.is(bound.status, 201);
  t.is(bound.json.status, 'Success');
  const pod = (await send('GET', 'pods/p')).json;
  t.is(pod.spec.nodeName, 'n1');
  t.true(
    pod.status.conditions.some(
      (one: { type: string; status: string }) => one.type === 'PodScheduled' && one.status === 'True',
    ),
  );
  t.is((await send('POST', 'pods/p/binding', binding)).status, 409);
  await send('POST', 'pods', { metadata: { name: 'old' }, spec });
  const oldWay = { metadata: { name: 'old' }, target: { kind: 'Node', name: 'n2' } };
  t.is((await send('POST', 'bindings', oldWay)).status, 201);
  t.is((await send('GET', 'pods/old')).json.spec.nodeName, 'n2');
  t.is((await send('GET', 'bindings')).status, 405);
  t.is(
    (await send('GET', `/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,metadata.namespace%3D${namespace}`)).json.items
      .length,
    1,
  );
});

test('lists: selectors, pages, versions', async (t) => {
  const { send, configMap, base } = await space(t);
  for (let index = 0; index < 5; index++)
    await configMap(`l${index}`, { metadata: { name: `l${index}`, labels: { odd: String(index % 2 === 1) } } });
  const list = async (query: string) => (await send('GET', `configmaps?${query}`)).json;
  const names = (of: { items: { metadata: { name: string } }[] }) => of.items.map((item) => item.metadata.name);
  const all = await list('');
  t.is(all.kind, 'ConfigMapList');
  t.deepEqual(names(all), ['l0', 'l1', 'l2', 'l3', 'l4']);
  t.is(all.items[0].kind, undefined);
  t.true(Number(all.metadata.resourceVersion) >= Number(all.items[4].metadata.resourceVersion));
  t.deepEqual(names(await list('labelSelector=odd%3Dtrue')), ['l1', 'l3']);
  t.deepEqual(names(await list('labelSelector=odd+notin+(true)&limit=2')), ['l0', 'l2']);
  t.deepEqual(names(await list('fieldSelector=metadata.name%3Dl3')), ['l3']);
  t.is((await list('labelSelector=%3D%3D')).code, 400);
  t.like(await list('fieldSelector=a%3Db'), { code: 400, message: 'field label not supported: a' });

  const first = await list('limit=2');
  t.deepEqual(names(first), ['l0', 'l1']);
  t.is(first.metadata.remainingItemCount, 3);
  await send('DELETE', 'configmaps/l2');
  await configMap('l9');
  const second = await list(`limit=2&continue=${first.metadata.continue}`);
  t.deepEqual(names(second), ['l2', 'l3']);
  t.is(second.metadata.resourceVersion, first.metadata.resourceVersion);
  const third = await list(`limit=2&continue=${second.metadata.continue}`);
  t.deepEqual(names(third), ['l4']);
  t.is(third.metadata.continue, undefined);
  t.is((await list('continue=nonsense')).code, 400);

  const then = all.metadata.resourceVersion;
  t.true(names(await list(`resourceVersion=${then}&resourceVersionMatch=Exact`)).includes('l2'));
  t.false(names(await list(`resourceVersion=${then}`)).includes('l2'));
  t.is((await list('resourceVersionMatch=Exact')).code, 422);
  t.is((await list('resourceVersion=0&resourceVersionMatch=Exact')).code, 422);
  t.is((await list('sendInitialEvents=true')).code, 422);
  const future = await list('resourceVersion=999999999');
  t.is(future.code, 504);
  t.is(future.details.causes[0].reason, 'ResourceVersionTooLarge');
  t.is(future.details.retryAfterSeconds, 1);
  t.is((await api.send({ path: `${base}/configmaps/l1?resourceVersion=0` })).status, 200);
});

test('tables and metadata only', async (t) => {
  const { send, configMap } = await space(t);
  await configMap('t', { data: { a: '1' } });
  const as = (accept: string, query = '') => send('GET', `configmaps${query}`, undefined, { accept });
  for (const version of ['v1', 'v1beta1']) {
    const { json } = await as(`application/json;as=Table;v=${version};g=meta.k8s.io,application/json`);
    t.is(json.kind, 'Table');
    t.is(json.apiVersion, `meta.k8s.io/${version}`);
    t.deepEqual(
      json.columnDefinitions.map((column: { name: string }) => column.name),
      ['Name', 'Data', 'Age'],
    );
    t.deepEqual(json.rows[0].cells.slice(0, 2), ['t', 1]);
    t.is(json.rows[0].object.kind, 'PartialObjectMetadata');
  }
  const bare = await as('application/json;as=Table;v=v1;g=meta.k8s.io', '?includeObject=None');
  t.is(bare.json.rows[0].object, undefined);
  const whole = await as('application/json;as=Table;v=v1;g=meta.k8s.io', '?includeObject=Object');
  t.is(whole.json.rows[0].object.data.a, '1');
  const metadata = await as('application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io');
  t.is(metadata.json.kind, 'PartialObjectMetadataList');
  t.is(metadata.json.items[0].data, undefined);
  t.is(metadata.json.items[0].metadata.name, 't');
  const one = await send('GET', 'configmaps/t', undefined, {
    accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  });
  t.is(one.json.kind, 'PartialObjectMetadata');
  t.is((await as('application/json;as=Table;v=v2;g=meta.k8s.io')).status, 406);
});

test('deletecollection takes what the selector matches', async (t) => {
  const { send, configMap } = await space(t);
  for (const name of ['a', 'b', 'c'])
    await configMap(name, { metadata: { name, labels: { keep: String(name === 'c') } } });
  const deleted = await send('DELETE', 'configmaps?labelSelector=keep%3Dfalse');
  t.is(deleted.status, 200);
  t.is(deleted.json.items.length, 2);
  t.deepEqual(
    (await send('GET', 'configmaps')).json.items.map((item: { metadata: { name: string } }) => item.metadata.name),
    ['c'],
  );
});
