import type { ServerResponse } from 'node:http';
import test, { type ExecutionContext } from 'ava';
import { createKubeClient } from '../../../src/kube/client.ts';
import { createInformer, createInformerSet, stripManagedFields } from '../../../src/kube/informer.ts';
import { pods } from '../../../src/kube/resources.ts';
import type { Pod } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { failure, pod, type StubRequest, sendJson, startApiStub, watchLine } from '../../support/api-stub.ts';
import { eventually } from '../../support/eventually.ts';

type Answer = (response: ServerResponse, request: StubRequest) => void;

/** An API whose lists and watches answer from two scripts; beyond its end a script's last answer repeats. */
async function start(t: ExecutionContext, script: { lists: Answer[]; watches: Answer[] }) {
  const stub = await startApiStub((request, response) => {
    const answers = request.query.has('watch') ? script.watches : script.lists;
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    answer?.(response, request);
  });
  const client = createKubeClient({ server: stub.url, userAgent: 'test' });
  // Short jitter-free pauses keep the tests quick.
  const clock = { ...systemClock, sleep: (_: number, signal?: AbortSignal) => systemClock.sleep(5, signal) };
  const informer = createInformer<Pod>({ client, resource: pods, log: silentLogger, clock, random: () => 0 });
  const seen: string[] = [];
  informer.subscribe({
    added: (object) => seen.push(`+${object.metadata.name}@${object.metadata.resourceVersion}`),
    updated: (old, object) =>
      seen.push(`~${object.metadata.name}@${old.metadata.resourceVersion}>${object.metadata.resourceVersion}`),
    deleted: (object) => seen.push(`-${object.metadata.name}@${object.metadata.resourceVersion}`),
  });
  const abort = new AbortController();
  const run = informer.run(abort.signal);
  t.teardown(async () => {
    abort.abort();
    await run;
    await client.close();
    await stub.close();
  });
  const until = (condition: () => boolean) =>
    eventually('what was to be seen', condition).catch(() => t.fail(`not reached; seen: ${seen.join(' ')}`));
  return { stub, informer, seen, until, client, signal: abort.signal };
}

const list =
  (resourceVersion: number, ...items: unknown[]): Answer =>
  (response) =>
    sendJson(response, 200, { metadata: { resourceVersion: String(resourceVersion) }, items });
const stream =
  (...lines: string[]): Answer =>
  (response) => {
    response.writeHead(200);
    response.flushHeaders();
    for (const line of lines) response.write(line);
  };
const hang = stream();

test('list in pages, then watch from its version; late subscribers get a replay', async (t) => {
  const page =
    (token: string | undefined, name: string): Answer =>
    (response) =>
      sendJson(response, 200, { metadata: { resourceVersion: '10', continue: token }, items: [pod(name, 1)] });
  const { stub, informer, seen, until } = await start(t, {
    lists: [page('p2', 'a'), page(undefined, 'b')],
    watches: [
      stream(watchLine('ADDED', pod('c', 11)), watchLine('MODIFIED', pod('a', 12)), watchLine('DELETED', pod('b', 13))),
    ],
  });
  await informer.synced();
  t.true(informer.hasSynced());
  await until(() => seen.length === 5);
  t.deepEqual(seen, ['+a@1', '+b@1', '+c@11', '~a@1>12', '-b@13']);
  const watch = stub.requests.find((request) => request.query.has('watch'))!;
  t.is(watch.query.get('resourceVersion'), '10');
  t.is(watch.query.get('timeoutSeconds'), '300');
  t.is(stub.requests[1]!.query.get('continue'), 'p2');
  const late: string[] = [];
  const unsubscribe = informer.subscribe({ added: (object) => late.push(object.metadata.name) });
  t.deepEqual(late, ['a', 'c']);
  unsubscribe();
  t.is(informer.get('default/a')?.metadata.resourceVersion, '12');
  t.is(informer.get('default/b'), undefined);
});

test('a dropped watch goes on from the last version, a bookmark counts', async (t) => {
  const drop: Answer = (response) => {
    response.write(watchLine('BOOKMARK', { metadata: { resourceVersion: '20' } }));
    setTimeout(() => response.socket!.destroy(), 20);
  };
  const { stub, seen, until } = await start(t, {
    lists: [list(10, pod('a', 1))],
    watches: [drop, stream(watchLine('ADDED', pod('b', 21)))],
  });
  await until(() => seen.length === 2);
  const watches = stub.requests.filter((request) => request.query.has('watch'));
  t.deepEqual(
    watches.map((request) => request.query.get('resourceVersion')),
    ['10', '20'],
  );
  t.is(stub.requests.length, 3, 'one list only');
});

test('410 lists again and tells only differences; another uid is a deletion and an addition', async (t) => {
  const { seen, until } = await start(t, {
    lists: [
      list(10, pod('same', 1), pod('changed', 2), pod('gone', 3), pod('reborn', 4)),
      list(30, pod('same', 1), pod('changed', 22), pod('reborn', 24, { uid: 'other' }), pod('new', 25)),
    ],
    watches: [stream(watchLine('ERROR', failure(410, 'Expired'))), hang],
  });
  await until(() => seen.length === 9);
  t.deepEqual(seen.slice(4), ['-gone@3', '~changed@2>22', '-reborn@4', '+reborn@24', '+new@25']);
});

test('errors never end it: refused lists, refused watches, an expired page', async (t) => {
  const refuse =
    (code: number, reason: string): Answer =>
    (response) =>
      sendJson(response, code, failure(code, reason));
  const { informer, seen, until } = await start(t, {
    lists: [refuse(500, 'InternalError'), refuse(403, 'Forbidden'), refuse(410, 'Expired'), list(10, pod('a', 1))],
    watches: [refuse(500, 'InternalError'), (response) => response.end(), stream(watchLine('ADDED', pod('b', 11)))],
  });
  await informer.synced();
  await until(() => seen.length === 2);
  t.deepEqual(seen, ['+a@1', '+b@11']);
});

test('a handler that throws does not hurt the others', async (t) => {
  const { informer, seen, until } = await start(t, {
    lists: [list(10, pod('a', 1))],
    watches: [stream(watchLine('MODIFIED', pod('a', 11)))],
  });
  informer.subscribe({
    updated: () => {
      throw new Error('mine');
    },
  });
  const others: string[] = [];
  informer.subscribe({ updated: (_, object) => others.push(object.metadata.name) });
  await until(() => seen.length === 2 && others.length === 1);
  t.pass();
});

test('indexes follow changes', async (t) => {
  const { informer, seen, until } = await start(t, {
    lists: [list(10, pod('a', 1, { labels: { app: 'x' } }), pod('b', 2, { labels: { app: 'x' } }))],
    watches: [
      stream(
        watchLine('MODIFIED', pod('a', 11, { labels: { app: 'y' } })),
        watchLine('DELETED', pod('b', 12, { labels: { app: 'x' } })),
        watchLine('ADDED', pod('c', 13, { labels: { app: 'y' } })),
      ),
    ],
  });
  await informer.synced();
  const byApp = informer.index((object) => [object.metadata.labels?.app]);
  await until(() => seen.length === 5);
  t.deepEqual(byApp('x'), []);
  t.deepEqual(
    byApp('y').map((object) => object.metadata.name),
    ['a', 'c'],
  );
});

test('synced rejects when aborted first', async (t) => {
  const { informer } = await start(t, { lists: [() => {}], watches: [hang] });
  const abort = new AbortController();
  const synced = informer.synced(abort.signal);
  abort.abort(new Error('stop'));
  await t.throwsAsync(synced, { message: 'stop' });
  t.false(informer.hasSynced());
});

test('an informer set shares informers by resource and selectors and starts late ones', async (t) => {
  const managed = { ...pod('a', 1), metadata: { ...pod('a', 1).metadata, managedFields: [{ manager: 'x' }] } };
  const { client, signal, stub } = await start(t, { lists: [list(10, managed)], watches: [hang] });
  const set = createInformerSet(client, { log: silentLogger, clock: systemClock });
  const all = set.informer(pods);
  t.is(set.informer(pods), all);
  const mine = set.informer(pods, { fieldSelector: 'spec.nodeName=n' });
  t.not(mine, all);
  set.run(signal);
  await set.synced();
  const late = set.informer(pods, { labelSelector: 'a=b' });
  await late.synced();
  t.is(all.list()[0]!.metadata.managedFields, undefined);
  t.true(stub.requests.some((request) => request.query.get('fieldSelector') === 'spec.nodeName=n'));
  t.is(stripManagedFields(managed as unknown as Pod).metadata.managedFields, undefined);
});
