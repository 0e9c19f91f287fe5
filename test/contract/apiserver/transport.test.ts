import { gunzipSync } from 'node:zlib';
import test from 'ava';
import { createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import { startTestControlPlane } from '../../support/control-plane.ts';
import { createRawClient } from '../../support/raw-api.ts';

async function setUp(t: import('ava').ExecutionContext, options?: Parameters<typeof startTestControlPlane>[0]) {
  const controlPlane = await startTestControlPlane(options);
  const pair = await controlPlane.credentials('admin', ['system:masters']);
  const clients = ([1, 2] as const).map((http) => createRawClient(controlPlane, { http, pair }));
  t.teardown(async () => {
    for (const client of clients) client.close();
    await controlPlane.stop();
  });
  await controlPlane.createNamespaces('default');
  return { controlPlane, pair, http1: clients[0]!, http2: clients[1]!, clients };
}

const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';

test('HTTP/1.1 and HTTP/2 on one port, with client certificates', async (t) => {
  const { clients } = await setUp(t);
  for (const [index, client] of clients.entries()) {
    const body = { metadata: { name: `by-${index}` }, data: { a: 'b' } };
    const created = await client.send({ method: 'POST', path: CONFIG_MAPS, body });
    t.is(created.status, 201);
    t.is(created.json.kind, 'ConfigMap');
    t.is(created.json.apiVersion, 'v1');
    const got = await client.send({ path: `${CONFIG_MAPS}/by-${index}` });
    t.is(got.status, 200);
    t.deepEqual(got.json, created.json);
    t.is(got.headers['content-type'], 'application/json');
    t.is(got.headers['x-content-type-options'], 'nosniff');
  }
});

test('anonymous requests reach health and version, nothing else', async (t) => {
  const { controlPlane } = await setUp(t);
  const stranger = createRawClient(controlPlane, { http: 2 });
  t.teardown(() => stranger.close());
  for (const path of ['/healthz', '/livez', '/readyz', '/livez/ping']) {
    const answer = await stranger.send({ path });
    t.is(answer.status, 200);
    t.is(answer.text, 'ok');
  }
  t.regex((await stranger.send({ path: '/readyz?verbose' })).text, /^\[\+\]ping ok\n(?:.*\n)*readyz check passed\n$/);
  t.is((await stranger.send({ path: '/version' })).json.minor, '36');
  for (const path of ['/api', '/metrics', CONFIG_MAPS, '/openapi/v3', '/livezz']) {
    const answer = await stranger.send({ path });
    t.is(answer.status, 401, path);
    t.like(answer.json, { kind: 'Status', reason: 'Unauthorized', message: 'Unauthorized', code: 401 });
  }
});

test('tokens, foreign certificates and impersonation', async (t) => {
  const { controlPlane, http2 } = await setUp(t, {
    tokens: [
      { token: 'good', user: { username: 'root', groups: ['system:masters'] } },
      { token: 'weak', user: { username: 'jane', groups: ['dev'] } },
    ],
  });
  const bare = createRawClient(controlPlane, { http: 1 });
  const foreignCa = await createCertificateAuthority({ commonName: 'foreign', days: 1, nowMs: Date.now() });
  const foreign = createRawClient(controlPlane, {
    http: 2,
    pair: await issueCertificate(foreignCa, {
      commonName: 'admin',
      organizations: ['system:masters'],
      usages: ['client'],
      days: 1,
      nowMs: Date.now(),
    }),
  });
  t.teardown(() => [bare, foreign].map((client) => client.close()));
  const as = (token: string) => bare.send({ path: CONFIG_MAPS, headers: { authorization: `Bearer ${token}` } });
  t.is((await as('good')).status, 200);
  t.is((await as('wrong')).status, 401);
  const denied = await as('weak');
  t.is(denied.status, 403);
  t.is(
    denied.json.message,
    'configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default"',
  );
  t.is((await foreign.send({ path: CONFIG_MAPS })).status, 401);
  t.is((await foreign.send({ path: '/healthz' })).status, 401);
  t.regex((await http2.send({ path: '/metrics' })).text, /^authentication_attempts\{result="error"\} 2$/m);
  const impersonated = await http2.send({ path: CONFIG_MAPS, headers: { 'impersonate-user': 'jane' } });
  t.is(impersonated.status, 400);
  t.regex(impersonated.json.message, /impersonation/);
});

test('denials name user, verb, resource and place', async (t) => {
  const { controlPlane } = await setUp(t);
  const nobody = createRawClient(controlPlane, { http: 2, pair: await controlPlane.credentials('nobody') });
  t.teardown(() => nobody.close());
  const messages = await Promise.all(
    [
      '/api/v1/nodes/n1',
      '/apis/apps/v1/deployments',
      `${CONFIG_MAPS}/x`,
      '/metrics',
      '/api/v1/namespaces/d/pods/p/log',
    ].map(async (path) => (await nobody.send({ path })).json.message),
  );
  t.deepEqual(messages, [
    'nodes "n1" is forbidden: User "nobody" cannot get resource "nodes" in API group "" at the cluster scope',
    'deployments.apps is forbidden: User "nobody" cannot list resource "deployments" in API group "apps" at the cluster scope',
    'configmaps "x" is forbidden: User "nobody" cannot get resource "configmaps" in API group "" in the namespace "default"',
    'forbidden: User "nobody" cannot get path "/metrics"',
    'pods "p" is forbidden: User "nobody" cannot get resource "pods/log" in API group "" in the namespace "d"',
  ]);
});

test('unknown paths, methods and media types', async (t) => {
  const { http2, http1 } = await setUp(t);
  const statusOf = async (path: string, more: object = {}) => {
    const { status, json } = await http2.send({ path, ...more });
    return [status, json.reason, json.message];
  };
  t.deepEqual(await statusOf('/apis/nope/v1/things'), [
    404,
    'NotFound',
    'the server could not find the requested resource',
  ]);
  t.deepEqual(await statusOf('/api/v1/namespaces/default/pods/x/exec', { method: 'POST' }), [
    404,
    'NotFound',
    'the server could not find the requested resource (pods/exec is not supported by this server)',
  ]);
  t.is((await statusOf(`${CONFIG_MAPS}/x`, { method: 'POST', body: {} }))[0], 405);
  t.is((await statusOf('/api/v1/namespaces', { method: 'DELETE' }))[0], 405);
  t.is((await statusOf(CONFIG_MAPS, { headers: { accept: 'application/vnd.kubernetes.protobuf' } }))[0], 406);
  t.is((await statusOf('/openapi/v2', { headers: { accept: 'application/json' } }))[0], 406);
  const cbor = { method: 'POST', headers: { 'content-type': 'application/cbor' }, body: 'x' };
  t.is((await statusOf(CONFIG_MAPS, cbor))[0], 415);
  t.is((await statusOf('/api/v1/%zz'))[0], 400);
  const huge = await http1.send({ method: 'POST', path: CONFIG_MAPS, body: Buffer.alloc(3 * 1024 * 1024 + 1, 32) });
  t.is(huge.status, 413);
  t.is(huge.json.reason, 'RequestEntityTooLarge');
});

test('YAML in and out; protobuf preferred falls back to JSON', async (t) => {
  const { http2 } = await setUp(t);
  const yaml = 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: from-yaml }\ndata: { number: "1" }\n';
  const created = await http2.send({
    method: 'POST',
    path: CONFIG_MAPS,
    headers: { 'content-type': 'application/yaml', accept: 'application/yaml' },
    body: yaml,
  });
  t.is(created.status, 201);
  t.is(created.headers['content-type'], 'application/yaml');
  t.regex(created.text, /^data:\n {2}number: "1"$/m);
  const accept = 'application/vnd.kubernetes.protobuf,application/json';
  t.is((await http2.send({ path: `${CONFIG_MAPS}/from-yaml`, headers: { accept } })).json.data.number, '1');
});

test('large answers are compressed for those who accept it', async (t) => {
  const { http2 } = await setUp(t);
  const body = { metadata: { name: 'big' }, data: { text: 'x'.repeat(200 * 1024) } };
  await http2.send({ method: 'POST', path: CONFIG_MAPS, body });
  const zipped = await http2.send({ path: CONFIG_MAPS, headers: { 'accept-encoding': 'gzip' } });
  t.is(zipped.headers['content-encoding'], 'gzip');
  t.true(zipped.body.length < 10_000);
  t.is(JSON.parse(gunzipSync(zipped.body).toString()).items.length, 1);
  t.is((await http2.send({ path: CONFIG_MAPS })).headers['content-encoding'], undefined);
});

test('overload is answered 429 with Retry-After', async (t) => {
  const { http2 } = await setUp(t, { maxMutatingInFlight: 2 });
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      http2.send({ method: 'POST', path: CONFIG_MAPS, body: { metadata: { name: `c${index}` } } }),
    ),
  );
  const refused = answers.filter((answer) => answer.status === 429);
  t.true(refused.length > 0);
  t.is(refused[0]!.headers['retry-after'], '1');
  t.is(refused[0]!.json.reason, 'TooManyRequests');
  t.is(answers.filter((answer) => answer.status === 201).length + refused.length, 20);
  t.is((await http2.send({ path: CONFIG_MAPS })).status, 200);
});

test('a busy port and a stopped store are told', async (t) => {
  const { controlPlane, http2 } = await setUp(t);
  const error = await t.throwsAsync(startTestControlPlane({ port: controlPlane.port }));
  t.regex(error.message, /cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE.*in use by another process/);
  await controlPlane.store.close();
  const answer = await http2.send({ path: '/readyz' });
  t.is(answer.status, 500);
  t.regex(answer.text, /\[-\]store failed: reason withheld/);
});

test('metrics count requests by verb, resource and code', async (t) => {
  const { http2 } = await setUp(t);
  await http2.send({ path: CONFIG_MAPS });
  await http2.send({ path: `${CONFIG_MAPS}/absent` });
  const { text } = await http2.send({ path: '/metrics' });
  t.regex(
    text,
    /apiserver_request_total\{verb="LIST",group="",version="v1",resource="configmaps",subresource="",scope="namespace",[^}]*code="200"\} 1/,
  );
  t.regex(text, /apiserver_request_total\{verb="GET",[^}]*resource="configmaps"[^}]*code="404"\} 1/);
  t.regex(text, /apiserver_request_duration_seconds_bucket\{/);
});

test('discovery: aggregated v2 with ETag, legacy documents', async (t) => {
  const { http2 } = await setUp(t);
  const accept =
    'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json';
  const core = await http2.send({ path: '/api', headers: { accept } });
  t.is(core.headers['content-type'], 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList');
  const [version] = core.json.items[0].versions;
  const pods = version.resources.find((resource: { resource: string }) => resource.resource === 'pods');
  t.like(pods, {
    scope: 'Namespaced',
    singularResource: 'pod',
    responseKind: { group: '', version: 'v1', kind: 'Pod' },
  });
  t.true(pods.subresources.some((one: { subresource: string }) => one.subresource === 'status'));
  const groups = await http2.send({ path: '/apis', headers: { accept } });
  t.true(groups.json.items.some((item: { metadata: { name: string } }) => item.metadata.name === 'apps'));
  const etag = String(groups.headers.etag);
  t.is((await http2.send({ path: '/apis', headers: { accept, 'if-none-match': etag } })).status, 304);
  t.is((await http2.send({ path: '/apis' })).json.kind, 'APIGroupList');
  t.deepEqual((await http2.send({ path: '/api' })).json.versions, ['v1']);
  t.is((await http2.send({ path: '/apis/apps' })).json.preferredVersion.groupVersion, 'apps/v1');
  const list = (await http2.send({ path: '/apis/apps/v1' })).json;
  t.is(list.groupVersion, 'apps/v1');
  t.like(
    list.resources.find((resource: { name: string }) => resource.name === 'deployments/scale'),
    { group: 'autoscaling', version: 'v1', kind: 'Scale' },
  );
  t.is((await http2.send({ path: '/apis/nope' })).status, 404);
  const openApi = (await http2.send({ path: '/openapi/v3' })).json.paths['apis/apps/v1'].serverRelativeURL;
  const document = await http2.send({ path: openApi });
  t.regex(String(document.headers['cache-control']), /immutable/);
  t.truthy(document.json.paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}'].patch);
});
