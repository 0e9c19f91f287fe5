import { once } from 'node:events';
import { connect } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../../src/runtime/clock.ts';
import { startTestControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';
import { createRawClient, type RawClient } from '../../support/raw-api.ts';

const PATH = '/api/v1/namespaces/default/configmaps';
const MERGE_PATCH = { 'content-type': 'application/merge-patch+json' };

async function setUp(t: ExecutionContext, options?: Parameters<typeof startTestControlPlane>[0]) {
  const controlPlane = await startTestControlPlane(options);
  const pair = await controlPlane.credentials('admin', ['system:masters']);
  const clients = ([1, 2] as const).map((http) => createRawClient(controlPlane, { http, pair }));
  const api = clients[1]!;
  t.teardown(async () => {
    for (const client of clients) client.close();
    await controlPlane.stop();
  });
  await controlPlane.createNamespaces('default', 'other');
  const create = async (name: string, more: { labels?: object; data?: object } = {}, namespace = 'default') => {
    const body = { metadata: { name, labels: more.labels }, data: more.data };
    return (await api.send({ method: 'POST', path: PATH.replace('default', namespace), body })).json;
  };
  const patch = async (name: string, body: object) =>
    (await api.send({ method: 'PATCH', path: `${PATH}/${name}`, headers: MERGE_PATCH, body })).json;
  const remove = (name: string) => api.send({ method: 'DELETE', path: `${PATH}/${name}` });
  const version = async () => (await api.send({ path: PATH })).json.metadata.resourceVersion as string;
  return { controlPlane, clients, api, create, patch, remove, version };
}

/** How many watches of config maps the server has. */
async function watches(api: RawClient): Promise<number> {
  const { text } = await api.send({ path: '/metrics' });
  return Number(/apiserver_longrunning_requests\{verb="WATCH"[^}]*resource="configmaps"[^}]*\} (\d+)/.exec(text)?.[1]);
}

/** Sends a request and never reads the answer. */
function createSilentClient(port: number, pair: { certPem: string; keyPem: string }) {
  const socket = connect({ port, host: '127.0.0.1', cert: pair.certPem, key: pair.keyPem, rejectUnauthorized: false });
  socket.pause();
  socket.on('error', () => {});
  return {
    async get(path: string) {
      await once(socket, 'secureConnect');
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    },
    destroy: () => socket.destroy(),
  };
}

// biome-ignore lint/suspicious/noExplicitAny: events hold whatever came
const brief = (event: any) => [event.type, event.object.metadata.name];

test('events after a version, on HTTP/1.1 and HTTP/2', async (t) => {
  const { clients, create, patch, remove, version } = await setUp(t);
  const from = await version();
  await create('a', { data: { k: '1' } });
  const streams = clients.map((client) => client.lines(`${PATH}?watch=1&resourceVersion=${from}`));
  for (const stream of streams) {
    t.is(await stream.status(), 200);
    const added = await stream.next();
    t.deepEqual(brief(added), ['ADDED', 'a']);
    t.is(added.object.kind, 'ConfigMap');
  }
  const modified = await patch('a', { data: { k: '2' } });
  await create('elsewhere', {}, 'other');
  await remove('a');
  for (const stream of streams) {
    const change = await stream.next();
    t.deepEqual(brief(change), ['MODIFIED', 'a']);
    t.deepEqual(change.object, modified);
    const gone = await stream.next();
    t.deepEqual(brief(gone), ['DELETED', 'a']);
    t.is(gone.object.data.k, '2');
    t.true(Number(gone.object.metadata.resourceVersion) > Number(modified.metadata.resourceVersion));
    stream.close();
  }
});

test('without a version a watch begins with what is there', async (t) => {
  const { api, create } = await setUp(t);
  await create('a');
  await create('b');
  for (const query of ['', '&resourceVersion=0']) {
    const stream = api.lines(`${PATH}?watch=true${query}`);
    t.deepEqual(
      [brief(await stream.next()), brief(await stream.next())],
      [
        ['ADDED', 'a'],
        ['ADDED', 'b'],
      ],
    );
    stream.close();
  }
  const legacy = api.lines(`/api/v1/watch/namespaces/default/configmaps/b`);
  t.deepEqual(brief(await legacy.next()), ['ADDED', 'b']);
  await create('c');
  await api.send({ method: 'DELETE', path: `${PATH}/b` });
  t.deepEqual(brief(await legacy.next()), ['DELETED', 'b']);
  legacy.close();
});

test('an object that enters or leaves the selection is ADDED or DELETED', async (t) => {
  const { api, create, patch, version } = await setUp(t);
  const stream = api.lines(`${PATH}?watch=1&labelSelector=on%3Dyes&resourceVersion=${await version()}`);
  await stream.status();
  await create('s', { data: { v: '1' } });
  await patch('s', { metadata: { labels: { on: 'yes' } } });
  t.deepEqual(brief(await stream.next()), ['ADDED', 's']);
  await patch('s', { data: { v: '2' } });
  t.deepEqual(brief(await stream.next()), ['MODIFIED', 's']);
  const left = await patch('s', { metadata: { labels: { on: 'no' } }, data: { v: '3' } });
  const gone = await stream.next();
  t.deepEqual(brief(gone), ['DELETED', 's']);
  // The state that the client knew, at the revision of the change.
  t.is(gone.object.data.v, '2');
  t.is(gone.object.metadata.labels.on, 'yes');
  t.is(gone.object.metadata.resourceVersion, left.metadata.resourceVersion);
  stream.close();
});

test('sendInitialEvents: state, one annotated bookmark, then live', async (t) => {
  const { api, create } = await setUp(t);
  await create('a');
  const wanted = 'watch=1&sendInitialEvents=true&allowWatchBookmarks=true';
  const refused = await api.send({ path: `${PATH}?${wanted}` });
  t.is(refused.status, 422);
  const withoutBookmarks = await api.send({
    path: `${PATH}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`,
  });
  t.is(withoutBookmarks.status, 422);
  const stream = api.lines(`${PATH}?${wanted}&resourceVersionMatch=NotOlderThan`);
  const added = await stream.next();
  t.deepEqual(brief(added), ['ADDED', 'a']);
  const bookmark = await stream.next();
  t.is(bookmark.type, 'BOOKMARK');
  t.is(bookmark.object.kind, 'ConfigMap');
  t.is(bookmark.object.metadata.annotations['k8s.io/initial-events-end'], 'true');
  t.true(Number(bookmark.object.metadata.resourceVersion) >= Number(added.object.metadata.resourceVersion));
  await create('b');
  t.deepEqual(brief(await stream.next()), ['ADDED', 'b']);
  stream.close();
  const live = api.lines(
    `${PATH}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=${bookmark.object.metadata.resourceVersion}`,
  );
  t.deepEqual(brief(await live.next()), ['ADDED', 'b']);
  live.close();
});

test('bookmarks once a minute and before the end; timeoutSeconds ends the watch', async (t) => {
  const timers: { ms: number; fire: () => void; cancelled: boolean }[] = [];
  let nowMs = 0;
  const clock = {
    ...systemClock,
    monotonicMs: () => nowMs,
    after(ms: number, fire: () => void) {
      const timer = { ms, fire, cancelled: false };
      timers.push(timer);
      return () => {
        timer.cancelled = true;
      };
    },
  };
  const { api, create, version } = await setUp(t, { clock });
  const from = await version();
  const before = timers.length;
  const stream = api.lines(`${PATH}?watch=1&allowWatchBookmarks=true&timeoutSeconds=90&resourceVersion=${from}`);
  t.is(await stream.status(), 200);
  const [end, bookmark] = timers.slice(before);
  t.is(end!.ms, 90_000);
  t.is(bookmark!.ms, 60_000);
  await create('unrelated', {}, 'other');
  nowMs += 60_000;
  bookmark!.fire();
  const first = await stream.next();
  t.is(first.type, 'BOOKMARK');
  t.is(first.object.metadata.resourceVersion, await version());
  t.is(timers.at(-1)!.ms, 28_000);
  timers.at(-1)!.fire();
  t.is((await stream.next()).type, 'BOOKMARK');
  end!.fire();
  t.is(await stream.next(), undefined);
});

test('a version that is compacted or in the future is refused', async (t) => {
  const { api, controlPlane, create, patch, version } = await setUp(t);
  const from = await version();
  await create('a');
  for (let round = 0; round < 3; round++) await patch('a', { data: { round: String(round) } });
  await controlPlane.store.compact(controlPlane.store.revision());
  const old = await api.send({ path: `${PATH}?watch=1&resourceVersion=${from}` });
  t.like(old.json, { code: 410, reason: 'Expired' });
  const future = await api.send({ path: `${PATH}?watch=1&resourceVersion=99999999` });
  t.is(future.json.details.causes[0].reason, 'ResourceVersionTooLarge');
  t.is((await api.send({ path: `${PATH}?watch=1&resourceVersion=abc` })).status, 400);
  t.is((await api.send({ path: `${PATH}?watch=1&timeoutSeconds=x` })).status, 400);
});

test('a page of a list that is too old offers a way on', async (t) => {
  const { api, controlPlane, create } = await setUp(t);
  for (const name of ['a', 'b', 'c']) await create(name);
  const first = await api.send({ path: `${PATH}?limit=1` });
  await create('bb');
  await controlPlane.store.compact(controlPlane.store.revision());
  const late = await api.send({ path: `${PATH}?limit=1&continue=${first.json.metadata.continue}` });
  t.like(late.json, { code: 410, reason: 'Expired' });
  const rest = await api.send({ path: `${PATH}?limit=9&continue=${late.json.metadata.continue}` });
  t.deepEqual(
    rest.json.items.map((item: { metadata: { name: string } }) => item.metadata.name),
    ['b', 'bb', 'c'],
  );
});

test('table watches: columns once, one row per event', async (t) => {
  const { api, create, patch } = await setUp(t);
  await create('a');
  const stream = api.lines(`${PATH}?watch=1&allowWatchBookmarks=true&resourceVersion=0`, {
    accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
  });
  const first = await stream.next();
  t.is(first.object.kind, 'Table');
  t.is(first.object.columnDefinitions.length, 3);
  t.is(first.object.rows[0].cells[0], 'a');
  await patch('a', { data: { k: 'v' } });
  const second = await stream.next();
  t.is(second.object.columnDefinitions, null);
  t.is(second.object.rows[0].cells[1], 1);
  t.is(second.object.rows[0].object.kind, 'PartialObjectMetadata');
  stream.close();
  const metadata = api.lines(`${PATH}?watch=1&resourceVersion=0`, {
    accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  });
  const event = await metadata.next();
  t.is(event.object.kind, 'PartialObjectMetadata');
  t.is(event.object.data, undefined);
  metadata.close();
});

test('concurrent watches of one connection see the same order; leaving frees the watcher', async (t) => {
  const { api, create, version, controlPlane } = await setUp(t);
  const from = await version();
  const streams = Array.from({ length: 20 }, () => api.lines(`${PATH}?watch=1&resourceVersion=${from}`));
  await Promise.all(streams.map((stream) => stream.status()));
  await Promise.all(Array.from({ length: 50 }, (_, index) => create(`c${index}`)));
  const orders = await Promise.all(
    streams.map(async (stream) => {
      const order: string[] = [];
      for (let count = 0; count < 50; count++) order.push((await stream.next()).object.metadata.resourceVersion);
      return order.join();
    }),
  );
  t.is(new Set(orders).size, 1);
  for (const stream of streams) stream.close();
  await eventually('nobody watches', async () => (await watches(api)) === 0);
  t.truthy(controlPlane.store.revision());
});

test('a large state and a burst reach a client that reads; one that does not is cut off', async (t) => {
  let laterMs = 0;
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + laterMs };
  const { api, controlPlane } = await setUp(t, { clock });
  const put = (name: string) => {
    const metadata = { name, namespace: 'default', uid: name, creationTimestamp: '2026-01-01T00:00:00Z' };
    const value = { kind: 'ConfigMap', apiVersion: 'v1', metadata, data: { text: 'x'.repeat(2_000) } };
    return controlPlane.store.put({ resource: 'configmaps', namespace: 'default', name }, JSON.stringify(value), 0);
  };
  const burst = (prefix: string, count: number) =>
    Promise.all(Array.from({ length: count }, (_, index) => put(`${prefix}${index}`)));
  await burst('state', 3_000);
  const stream = api.lines(`${PATH}?watch=1`);
  const silent = createSilentClient(controlPlane.port, await controlPlane.credentials('admin', ['system:masters']));
  t.teardown(() => silent.destroy());
  await silent.get(`${PATH}?watch=1&resourceVersion=0`);
  await eventually('both watch', async () => (await watches(api)) === 2);
  for (let count = 0; count < 3_000; count++) t.is((await stream.next()).type, 'ADDED');
  const reading = (async () => {
    for (let count = 0; count < 14_000; count++) await stream.next();
  })();
  for (let round = 0; round < 7; round++) await burst(`burst${round}-`, 2_000);
  await reading;
  t.is(await watches(api), 2);
  laterMs = 6_000;
  await burst('late', 1);
  // The silent one is gone, the other is still on.
  await eventually('one watches', async () => (await watches(api)) === 1);
  stream.close();
});

test('stopping the server ends watches cleanly', async (t) => {
  // The patience with clients that stay never ends: the stop would not, either.
  const controlPlane = await startTestControlPlane({ clock: { ...systemClock, after: () => () => {} } });
  const pair = await controlPlane.credentials('admin', ['system:masters']);
  const client = createRawClient(controlPlane, { http: 2, pair });
  const stream = client.lines('/api/v1/namespaces?watch=1');
  t.is(await stream.status(), 200);
  await controlPlane.stop();
  t.is(await stream.next(), undefined);
  client.close();
});
