import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { createKubeClient, type WatchEvent } from '../../../src/kube/client.ts';
import { ApiError, isAlreadyExists, isConflict, isGone, isNotFound } from '../../../src/kube/errors.ts';
import { deployments, nodes, pods } from '../../../src/kube/resources.ts';
import type { Pod } from '../../../src/kube/types.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { failure, pod, type StubHandler, sendJson, startApiStub, watchLine } from '../../support/api-stub.ts';

async function connect(t: { teardown(fn: () => Promise<void>): void }, handler: StubHandler, metrics?: Registry) {
  const stub = await startApiStub(handler);
  const client = createKubeClient({ server: stub.url, token: 'secret', userAgent: 'berth-test' }, { metrics });
  t.teardown(async () => {
    await client.close();
    await stub.close();
  });
  return { stub, client };
}

test('requests carry path, query, credentials and user agent; list items get apiVersion and kind', async (t) => {
  const { stub, client } = await connect(t, (_, response) =>
    sendJson(response, 200, { metadata: { resourceVersion: '7', continue: 'next' }, items: [pod('a', 5)] }),
  );
  const list = await client.list(pods, { namespace: 'default', labelSelector: 'app=x', limit: 1 });
  t.is(list.metadata.continue, 'next');
  t.like(list.items[0], { apiVersion: 'v1', kind: 'Pod' });
  const request = stub.requests[0]!;
  t.is(request.path, '/api/v1/namespaces/default/pods');
  t.is(request.query.toString(), 'labelSelector=app%3Dx&limit=1');
  t.is(request.headers.authorization, 'Bearer secret');
  t.is(request.headers['user-agent'], 'berth-test');
});

test('writes: method, path, content type and body of each', async (t) => {
  const { stub, client } = await connect(t, (_, response) => sendJson(response, 200, pod('a', 6)));
  const object = { ...pod('a', 5), metadata: { ...pod('a', 5).metadata } } as Pod;
  await client.create(pods, { metadata: { name: 'a', namespace: 'default' }, spec: { containers: [] } });
  await client.create(pods, { target: { name: 'n' } }, { namespace: 'default', name: 'a', subresource: 'binding' });
  await client.replace(pods, object, { subresource: 'status' });
  await client.patch(deployments, { namespace: 'd', name: 'x', subresource: 'scale', type: 'merge', patch: { a: 1 } });
  await client.delete(pods, { namespace: 'default', name: 'a', gracePeriodSeconds: 0, uid: 'u' });
  t.deepEqual(
    stub.requests.map(({ method, path, headers, body }) => [method, path, headers['content-type'], JSON.parse(body)]),
    [
      [
        'POST',
        '/api/v1/namespaces/default/pods',
        'application/json',
        {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'a', namespace: 'default' },
          spec: { containers: [] },
        },
      ],
      ['POST', '/api/v1/namespaces/default/pods/a/binding', 'application/json', { target: { name: 'n' } }],
      [
        'PUT',
        '/api/v1/namespaces/default/pods/a/status',
        'application/json',
        { apiVersion: 'v1', kind: 'Pod', ...pod('a', 5) },
      ],
      ['PATCH', '/apis/apps/v1/namespaces/d/deployments/x/scale', 'application/merge-patch+json', { a: 1 }],
      [
        'DELETE',
        '/api/v1/namespaces/default/pods/a',
        'application/json',
        { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0, preconditions: { uid: 'u' } },
      ],
    ],
  );
});

test('a missing namespace or name is refused before anything is sent', async (t) => {
  const { stub, client } = await connect(t, (_, response) => sendJson(response, 200, {}));
  await t.throwsAsync(client.get(pods, { name: 'a' }), { message: /namespace is needed/ });
  await t.throwsAsync(client.get(nodes, { name: '' }), { message: /needs a name/ });
  await t.throwsAsync(client.list(nodes, { namespace: 'x' }), { message: /cluster-scoped/ });
  t.is(stub.requests.length, 0);
});

test('refusals are ApiErrors with the Status; other answers get one', async (t) => {
  const answers = [
    failure(404, 'NotFound', 'pods "a" not found'),
    failure(409, 'Conflict'),
    failure(409, 'AlreadyExists'),
  ];
  const { client } = await connect(t, (_, response) => {
    const answer = answers.shift();
    if (answer) return sendJson(response, answer.code, answer);
    response.writeHead(502, { 'content-type': 'text/html' });
    response.end('<h1>bad gateway</h1>');
  });
  const get = () => client.get(pods, { namespace: 'default', name: 'a' });
  const notFound = await t.throwsAsync(get(), { instanceOf: ApiError, message: 'pods "a" not found' });
  t.true(isNotFound(notFound));
  const conflict = await t.throwsAsync(get());
  t.true(isConflict(conflict) && !isAlreadyExists(conflict));
  const exists = await t.throwsAsync(get());
  t.true(isAlreadyExists(exists) && !isConflict(exists));
  const other = await t.throwsAsync(get(), { instanceOf: ApiError });
  t.is((other as ApiError).code, 502);
  t.regex(other!.message, /GET \/api\/v1\/namespaces\/default\/pods\/a: HTTP 502: <h1>/);
});

test('raw: any path, any answer', async (t) => {
  const { client } = await connect(t, (request, response) => {
    response.writeHead(request.path === '/version' ? 200 : 418);
    response.end(request.path);
  });
  const [known, other] = [await client.raw('/version'), await client.raw('/tea', { method: 'POST', body: 'x' })];
  t.is(await known.body.text(), '/version');
  t.is(other.statusCode, 418);
  await other.body.dump();
});

test('redirects are not followed', async (t) => {
  const { stub, client } = await connect(t, (_, response) => {
    response.writeHead(302, { location: '/elsewhere' });
    response.end();
  });
  await t.throwsAsync(client.get(nodes, { name: 'n' }), { instanceOf: ApiError });
  t.is(stub.requests.length, 1);
});

test('429 with Retry-After is repeated', async (t) => {
  let first = true;
  const { stub, client } = await connect(t, (_, response) => {
    if (first) sendJson(response, 429, failure(429, 'TooManyRequests'), { 'retry-after': '0' });
    else sendJson(response, 200, pod('a', 1));
    first = false;
  });
  t.is((await client.get(pods, { namespace: 'default', name: 'a' })).metadata.name, 'a');
  t.is(stub.requests.length, 2);
});

test('a read on a connection that broke is repeated once, a write is not', async (t) => {
  let broken = true;
  const { stub, client } = await connect(t, (request, response) => {
    if (broken || request.method === 'POST') response.socket!.destroy();
    else sendJson(response, 200, pod('a', 1));
    broken = false;
  });
  t.is((await client.get(pods, { namespace: 'default', name: 'a' })).metadata.name, 'a');
  await t.throwsAsync(client.create(pods, { metadata: { name: 'b' }, spec: { containers: [] } }, { namespace: 'd' }));
  t.is(stub.requests.length, 3);
});

test('metrics count codes, hosts and methods', async (t) => {
  const metrics = new Registry();
  const { client } = await connect(t, (_, response) => sendJson(response, 200, pod('a', 1)), metrics);
  await client.get(pods, { namespace: 'default', name: 'a' });
  t.regex(await metrics.metrics(), /rest_client_requests_total\{code="200",host="127\.0\.0\.1:\d+",method="GET"\} 1/);
});

test('a token file is read again after a minute; a moment without it does no harm', async (t) => {
  const { stub, client: other } = await connect(t, (_, response) => sendJson(response, 200, pod('a', 1)));
  await other.close();
  const folder = mkdtempSync(join(tmpdir(), 'berth-token-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const tokenFile = join(folder, 'token');
  const clock = createFakeClock();
  const client = createKubeClient({ server: stub.url, tokenFile, userAgent: 'test' }, { clock });
  t.teardown(() => client.close());
  const get = () => client.get(pods, { namespace: 'default', name: 'a' });
  await t.throwsAsync(get(), { code: 'ENOENT' });
  for (const [content, expected] of [
    ['one\n', 'Bearer one'],
    ['two', 'Bearer two'],
    [undefined, 'Bearer two'],
  ]) {
    if (content) writeFileSync(tokenFile, content);
    else rmSync(tokenFile);
    await clock.advance(60_000);
    await get();
    t.is(stub.requests.at(-1)!.headers.authorization, expected);
  }
});

test('an aborted request rejects', async (t) => {
  const { client } = await connect(t, () => {});
  const abort = new AbortController();
  const get = client.get(pods, { namespace: 'default', name: 'a', signal: abort.signal });
  setTimeout(() => abort.abort(new Error('stop')), 20);
  await t.throwsAsync(get, { message: 'stop' });
});

async function collect(events: AsyncIterable<WatchEvent<Pod>>) {
  const seen: string[] = [];
  for await (const { type, object } of events) seen.push(`${type} ${object.metadata.resourceVersion}`);
  return seen;
}

test('watch: events whatever the chunk borders, characters cut in two, a half line at the end', async (t) => {
  const { stub, client } = await connect(t, async (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const bytes = Buffer.from(
      watchLine('ADDED', pod('a', 2, { labels: { x: 'größe✓' } })) +
        watchLine('MODIFIED', pod('a', 3)) +
        watchLine('BOOKMARK', { kind: 'Pod', metadata: { resourceVersion: '9' } }) +
        watchLine('DELETED', pod('a', 10)) +
        watchLine('ADDED', pod('cut', 11)).slice(0, 30),
    );
    for (let at = 0; at < bytes.length; at += 13) {
      response.write(bytes.subarray(at, at + 13));
      if (at % 5 === 0) await sleep(0);
    }
    response.end();
  });
  const events = client.watch(pods, { resourceVersion: '1', signal: new AbortController().signal });
  t.deepEqual(await collect(events), ['ADDED 2', 'MODIFIED 3', 'BOOKMARK 9', 'DELETED 10']);
  t.is(stub.requests[0]!.query.toString(), 'resourceVersion=1&watch=true&allowWatchBookmarks=true');
});

test('watch: 410 as an answer and as an ERROR event', async (t) => {
  let asEvent = false;
  const { client } = await connect(t, (_, response) => {
    if (asEvent) response.end(watchLine('ERROR', failure(410, 'Expired')));
    else sendJson(response, 410, failure(410, 'Expired'));
    asEvent = true;
  });
  const watch = () => collect(client.watch(pods, { resourceVersion: '1', signal: new AbortController().signal }));
  t.true(isGone(await t.throwsAsync(watch())));
  t.true(isGone(await t.throwsAsync(watch())));
});

test('watch: a dropped connection throws, an abort ends quietly and at once', async (t) => {
  const { client } = await connect(t, async (request, response) => {
    response.write(watchLine('ADDED', pod('a', 2)));
    await sleep(20);
    if (request.query.get('resourceVersion') === 'drop') response.socket!.destroy();
  });
  await t.throwsAsync(collect(client.watch(pods, { resourceVersion: 'drop', signal: new AbortController().signal })));
  const abort = new AbortController();
  const seen: string[] = [];
  for await (const event of client.watch(pods, { resourceVersion: '1', signal: abort.signal })) {
    seen.push(event.type);
    abort.abort();
  }
  t.deepEqual(seen, ['ADDED']);
});
