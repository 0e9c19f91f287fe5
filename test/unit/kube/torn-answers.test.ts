import type { ServerResponse } from 'node:http';
import test, { type ExecutionContext } from 'ava';
import { createKubeClient } from '../../../src/kube/client.ts';
import { createInformer } from '../../../src/kube/informer.ts';
import { pods } from '../../../src/kube/resources.ts';
import type { Pod } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/agent.ts';
import { failure, pod, type StubRequest, sendJson, startApiStub, watchLine } from '../../support/api-stub.ts';

type Answer = (response: ServerResponse, request: StubRequest) => void;

/** An informer whose clock runs a hundred times as fast, on a server that answers lists and watches from scripts; the last answer repeats. */
async function start(t: ExecutionContext, script: { lists: Answer[]; watches: Answer[] }, speed = 100) {
  const stub = await startApiStub((request, response) => {
    const answers = request.query.has('watch') ? script.watches : script.lists;
    (answers.length > 1 ? answers.shift() : answers[0])?.(response, request);
  });
  const clock = {
    ...systemClock,
    monotonicMs: () => systemClock.monotonicMs() * speed,
    sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(ms / speed, signal),
  };
  const client = createKubeClient({ server: stub.url, userAgent: 'test' }, { clock });
  const informer = createInformer<Pod>({ client, resource: pods, log: silentLogger, clock });
  const stop = new AbortController();
  const running = informer.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
    await client.close();
    await stub.close();
  });
  return { stub, informer, client };
}

const list =
  (version: number, ...items: object[]): Answer =>
  (response) =>
    sendJson(response, 200, { metadata: { resourceVersion: String(version) }, items });
const hang: Answer = (response) => response.writeHead(200).flushHeaders();
const say =
  (text: string, headers: Record<string, string> = {}): Answer =>
  (response) => {
    response.writeHead(200, { 'content-type': 'application/json', ...headers });
    response.end(text);
  };
/** The head promises more than comes, then the connection ends. */
const tear =
  (text: string, how: 'close' | 'reset'): Answer =>
  (response) => {
    response.writeHead(200, { 'content-length': '1000' });
    response.write(text, () => (how === 'reset' ? response.socket?.resetAndDestroy() : response.socket?.destroy()));
  };

const TORN_LISTS: [string, Answer][] = [
  ['half a JSON text', say('{"items":[{"metadata":{"name":"a"')],
  ['no JSON', say('<h1>It works!</h1>', { 'content-type': 'text/html' })],
  ['nothing', say('')],
  ['JSON that is no object', say('"hello"')],
  ['null', say('null')],
  ['items that are none', say('{"metadata":{"resourceVersion":"3"},"items":{}}')],
  ['an item that is null', say('{"metadata":{"resourceVersion":"3"},"items":[null]}')],
  ['a body cut by an end', tear('{"items":[', 'close')],
  ['a body cut by a reset', tear('{"items":[', 'reset')],
  ['no answer but a reset', (response) => response.socket?.resetAndDestroy()],
  ['bytes that are no HTTP', (response) => response.socket?.end('\x16\x03\x01\x00\x05hello')],
  ['a compressed body that nobody asked for', say('\x1f\x8b\b\0\0', { 'content-encoding': 'gzip' })],
  ['a redirect', (response) => response.writeHead(302, { location: 'https://192.0.2.1/' }).end()],
];

for (const [what, answer] of TORN_LISTS)
  test(`a list that is ${what}: the next one counts`, async (t) => {
    const { informer } = await start(t, { lists: [answer, answer, list(10, pod('a', 1))], watches: [hang] });
    await informer.synced();
    t.deepEqual(
      informer.list().map(({ metadata }) => metadata.name),
      ['a'],
    );
  });

const good = watchLine('ADDED', pod('b', 11));
const TORN_EVENTS: [string, string][] = [
  ['half a JSON text', '{"type":"ADDED","object":{"metadata"\n'],
  ['bytes of no sense', '\u0000\u0001\u0002\n'],
  ['a page of a proxy', '<html>\n<body>Bad Gateway</body>\n'],
  ['null', 'null\n'],
  ['an event without an object', '{"type":"ADDED"}\n'],
  ['an object without a name', watchLine('ADDED', { metadata: { resourceVersion: '12' } })],
  ['an object without a version', watchLine('MODIFIED', { metadata: { name: 'x', namespace: 'default' } })],
  ['a bookmark without a version', watchLine('BOOKMARK', { metadata: {} })],
  ['a type that there is not', watchLine('EXPLODED', pod('x', 12))],
  ['an error without a Status', '{"type":"ERROR"}\n'],
];

for (const [what, line] of TORN_EVENTS)
  test(`a watch that says ${what}: it goes on from the last version that was whole`, async (t) => {
    const { stub, informer } = await start(t, {
      lists: [list(10, pod('a', 1))],
      watches: [
        (response) => void response.writeHead(200).write(good + line),
        (response) => void response.writeHead(200).write(watchLine('ADDED', pod('c', 13))),
      ],
    });
    await eventually('the next event', () => informer.get('default/c'));
    t.truthy(informer.get('default/b'));
    t.is(informer.get('default/x'), undefined);
    const watches = stub.requests.filter(({ query }) => query.has('watch'));
    t.deepEqual(
      watches.map(({ query }) => query.get('resourceVersion')),
      ['10', '11'],
    );
    t.is(stub.requests.length, 3, 'no other list');
  });

test.serial('a line without end does not fill the memory', async (t) => {
  const piece = Buffer.alloc(1 << 20, 'x');
  let sent = 0;
  const { informer } = await start(t, {
    lists: [list(10)],
    watches: [
      (response) => {
        response.writeHead(200);
        const more = () => {
          while (!response.destroyed && sent < 200) {
            sent++;
            if (!response.write(piece)) return void response.once('drain', more);
          }
        };
        more();
      },
      (response) => void response.writeHead(200).write(good),
    ],
  });
  await eventually('the watch began anew', () => informer.get('default/b'));
  t.true(sent < 100, `${sent} MiB were taken`);
});

for (const [what, lists, watches] of [
  [
    'whose watches are too old at once',
    list(10),
    (response: ServerResponse) => void response.end(watchLine('ERROR', failure(410, 'Expired'))),
  ],
  [
    'that answers each watch with 410',
    list(10),
    (response: ServerResponse) => sendJson(response, 410, failure(410, 'Expired')),
  ],
  ['that ends each watch at once', list(10), (response: ServerResponse) => void response.writeHead(200).end()],
  [
    'that ends each watch after one event',
    list(10),
    (response: ServerResponse, { query }: StubRequest) =>
      void response.end(
        watchLine('BOOKMARK', { metadata: { resourceVersion: `${Number(query.get('resourceVersion')) + 1}` } }),
      ),
  ],
  ['whose lists expire at once', (response: ServerResponse) => sendJson(response, 410, failure(410, 'Expired')), hang],
] as [string, Answer, Answer][])
  test(`a server ${what} is not asked without end`, async (t) => {
    const { stub } = await start(t, { lists: [lists], watches: [watches] }, 20);
    // Thirty seconds.
    await systemClock.sleep(1500);
    t.true(stub.requests.length < 40, `${stub.requests.length} requests`);
    await eventually('it is asked again', () => stub.requests.length > 4);
  });

test('patience that a server asks for: of requests with 429 and 5xx, of watches, in seconds or as a date', async (t) => {
  const busy =
    (code: number, after: string): Answer =>
    (response) =>
      sendJson(response, code, failure(code, 'Busy'), { 'retry-after': after });
  const { stub, informer } = await start(
    t,
    {
      lists: [
        busy(429, '2'),
        busy(503, '2'),
        busy(500, new Date(Date.now() + 3000).toUTCString()),
        list(10, pod('a', 1)),
      ],
      watches: [busy(429, '5'), (response) => void response.writeHead(200).write(good)],
    },
    20,
  );
  const beganMs = performance.now();
  await informer.synced();
  t.true(performance.now() - beganMs > (2 + 2 + 1) * 50, 'each wait was kept');
  const syncedMs = performance.now();
  await eventually('the watch', () => informer.get('default/b'));
  t.true(performance.now() - syncedMs > 5 * 50);
  t.is(stub.requests.length, 6);
});
