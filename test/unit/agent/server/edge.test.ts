import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { eventually } from '../../../support/agent.ts';
import { type NodeApi, type NodeApiOptions, startNodeApi } from '../../../support/node-api.ts';

async function scene(t: ExecutionContext, options: NodeApiOptions = {}): Promise<NodeApi> {
  const api = await startNodeApi(options);
  t.teardown(() => api.close());
  return api;
}

const SPDY = 'Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n';
const SOCKET =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
const ask = (line: string, headers = '') => `${line} HTTP/1.1\r\nHost: node\r\n${headers}\r\n`;

/** What is sent, as whoever may do everything here, and the status that comes back. */
const MALFORMED: [what: string, bytes: string, status: number][] = [
  ['two slashes', ask('GET //pods'), 400],
  ['two slashes before a stream', ask('GET //exec/default/web/app?command=x&output=1', SPDY), 400],
  ['two slashes within', ask('GET /containerLogs//web/app'), 404],
  ['a target with scheme and host is its path', ask('GET https://node/pods'), 200],
  ['a target with a host that is none', ask('GET https://['), 400],
  ['no path', ask('OPTIONS *'), 400],
  ['a proxy is asked for', ask('CONNECT 10.0.0.1:22'), 405],
  ['dots', ask('GET /containerLogs/default/../../configz'), 404],
  ['dots to a path of fewer rights', ask('GET /metrics/../pods'), 404],
  ['escaped dots and slashes', ask('GET /containerLogs/default/..%2f..%2fetc/app'), 404],
  ['a name with an escaped slash', ask('GET /containerLogs/default/web%2fapp/app'), 404],
  ['a malformed escape', ask('GET /containerLogs/default/%zz/app'), 400],
  ['a name with NUL', ask('GET /containerLogs/default/web%00/app'), 404],
  ['another case', ask('GET /PODS'), 404],
  ['an escaped letter', ask('GET /%70ods'), 404],
  ['an unknown pod', ask('GET /containerLogs/default/nobody/app'), 404],
  ['an unknown container', ask('GET /containerLogs/default/web/nobody'), 404],
  ['a name of a prototype', ask('GET /containerLogs/default/web/__proto__'), 404],
  ['bad values of a query', ask('GET /containerLogs/default/web/app?tailLines=1e9999&limitBytes=-1'), 422],
  ['stream: dots', ask('GET /exec/x/../default/web/app?command=x&output=1', SPDY), 404],
  ['stream: escaped dots', ask('POST /exec/%2e%2e/default/web/app?command=x&output=1', SPDY), 404],
  ['stream: backslashes', ask('POST /exec\\default\\web\\app?command=x&output=1', SPDY), 404],
  ['stream: a malformed escape', ask('POST /exec/default/%zz/app?command=x&output=1', SPDY), 400],
  ['stream: an unknown pod', ask('POST /exec/default/nobody/app?command=x&output=1', SPDY), 404],
  ['stream: an unknown container', ask('POST /attach/default/web/nobody?output=1', SOCKET), 404],
  ['stream: no command', ask('POST /exec/default/web/app?output=1', SPDY), 400],
  ['stream: no streams', ask('GET /exec/default/web/app?command=x&output=maybe', SOCKET), 400],
  ['stream: another method', ask('DELETE /exec/default/web/app?command=x&output=1', SPDY), 405],
  ['stream: no upgrade', ask('POST /exec/default/web/app?command=x&output=1'), 400],
  [
    'stream: another protocol',
    ask('POST /attach/default/web/app?output=1', 'Connection: Upgrade\r\nUpgrade: h2c\r\n'),
    400,
  ],
  ['stream: no ports', ask('GET /portForward/default/web?port=0', SOCKET), 400],
  [
    'stream: a WebSocket without a key',
    ask('GET /exec/default/web/app?command=x&output=1', SOCKET.replace(/Sec-WebSocket-Key.*\r\n/, '')),
    400,
  ],
  ['no HTTP', 'ehlo node\r\n\r\n', 400],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ['two lengths', ask('POST /run/default/web/app?cmd=x', 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n'), 400],
  ['a length that is none', ask('POST /run/default/web/app?cmd=x', 'Content-Length: -3\r\n'), 400],
  ['a header that is folded', 'GET /pods HTTP/1.1\r\nHost: node\r\nA: b\r\n c\r\n\r\n', 400],
  ['no host', 'GET /pods HTTP/1.1\r\n\r\n', 400],
  ['an expectation', ask('GET /pods', 'Expect: miracles\r\n'), 417],
  ['a huge header', ask('GET /pods', `A: ${'x'.repeat(300 * 1024)}\r\n`), 431],
  ['a huge target', ask(`GET /${'x'.repeat(300 * 1024)}`), 431],
  ['a command of 100 KiB', ask(`POST /exec/default/web/app?command=${'x'.repeat(100 * 1024)}&output=1`, SPDY), 101],
  ['many headers', ask('GET /pods', 'A: b\r\n'.repeat(250)), 431],
  [
    'many headers before a stream',
    ask('POST /exec/default/web/app?command=x&output=1', SPDY + 'A: b\r\n'.repeat(250)),
    431,
  ],
  ['a huge body', ask('POST /run/default/web/app?cmd=x', 'Content-Length: 1000000000\r\n'), 413],
];

test('malformed requests: a clear answer each, and the node goes on', async (t) => {
  const api = await scene(t);
  for (const [what, bytes, status] of MALFORMED) {
    const answer = await api.exchange(bytes);
    t.is(answer.status, status, `${what}: ${answer.text.slice(0, 200)}`);
  }
  t.is((await api.exchange(ask('GET /healthz'))).status, 200);
});

test('a body without end ends with the answer', async (t) => {
  const api = await scene(t);
  const socket = await api.open();
  socket.write(ask('GET /healthz', 'Transfer-Encoding: chunked\r\n'));
  const [first] = (await once(socket, 'data')) as [Buffer];
  const timer = setInterval(() => socket.write('1\r\nx\r\n'), 20);
  t.regex(first.toString(), /^HTTP\/1\.1 200 [\s\S]*connection: close/i);
  if (!socket.closed) await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  clearInterval(timer);
});

test('slow-loris: who does not come to the point is cut off, whatever it drips', async (t) => {
  const limits = { handshakeMs: 400, headersMs: 400, requestMs: 800, lookMs: 100 };
  const api = await scene(t, { limits });
  const begin = ask('POST /run/default/nobody/app?cmd=x', 'Content-Length: 100\r\n');
  const drip = async (text: string) => {
    const socket = await api.open('stranger');
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk;
    });
    let at = 0;
    const timer = setInterval(() => at < text.length && socket.write(text.charAt(at++)), 50);
    await once(socket, 'close');
    clearInterval(timer);
    return answer;
  };
  const mute = api.openTcp();
  const [headers, nothing] = await Promise.all([drip(begin), drip(''), once(mute, 'close')]);
  t.regex(headers, /^HTTP\/1\.1 408 /);
  t.regex(nothing, /^HTTP\/1\.1 408 /);
  t.is((await api.exchange(ask('GET /healthz'))).status, 200);
});

test('strangers have few places and take them from each other; who is known keeps its own', async (t) => {
  const api = await scene(t, { limits: { connections: { all: 100, strangers: 5 } } });
  const known = await api.open();
  known.write(ask('GET /healthz'));
  await once(known, 'data');
  const strangers: TLSSocket[] = [];
  for (let i = 0; i < 20; i++) strangers.push(await api.open('stranger'));
  await eventually('the oldest are closed', () => strangers.filter(({ closed }) => !closed).length === 5);
  t.true(strangers.slice(-5).every(({ closed }) => !closed));
  known.write(ask('GET /healthz'));
  t.regex(String((await once(known, 'data'))[0]), /^HTTP\/1\.1 200 /);
  for (const one of [known, ...strangers]) one.destroy();
});

test('no more connections than there may be', async (t) => {
  const api = await scene(t, { limits: { connections: { all: 10, strangers: 100 } } });
  const kept = await Promise.all(Array.from({ length: 10 }, () => api.open()));
  const late = api.openTcp();
  await once(late, 'close');
  t.is(kept.filter(({ closed }) => closed).length, 0);
  kept[0]!.destroy();
  await eventually('a place is free', () =>
    api.exchange(ask('GET /healthz')).then(
      ({ status }) => status === 200,
      () => false,
    ),
  );
  for (const one of kept) one.destroy();
});

test('CVE-2020-8551: requests at once, streams at once, and what is not yet judged are bounded', async (t) => {
  const judged: (() => void)[] = [];
  let holds = true;
  const api = await scene(t, {
    places: { unknown: 3, short: 2, long: 2 },
    beforeAccess: async (request) => {
      if (holds && request.headers['x-hold']) await new Promise<void>((resolve) => judged.push(resolve));
      return undefined;
    },
  });
  const held = Array.from({ length: 3 }, () => api.exchange(ask('GET /healthz', 'X-Hold: 1\r\n')));
  await eventually('three wait for their judgement', () => judged.length === 3);
  const refused = await api.exchange(ask('GET /healthz'));
  t.is(refused.status, 429);
  t.regex(refused.text, /retry-after: 1/i);
  t.is((await api.exchange(ask('POST /exec/default/web/app?command=x&output=1', SPDY))).status, 429);
  holds = false;
  for (const go of judged) go();
  for (const { status } of await Promise.all(held)) t.true(status === 200 || status === 429);

  const followers = await Promise.all([api.open(), api.open()]);
  for (const one of followers) one.write(ask('GET /containerLogs/default/web/app?follow=true'));
  await eventually('two follow', () => api.followers() === 2);
  t.is((await api.exchange(ask('GET /containerLogs/default/web/app?follow=true'))).status, 429);
  t.is((await api.exchange(ask('POST /exec/default/web/app?command=x&output=1', SPDY))).status, 429);
  t.is((await api.exchange(ask('GET /containerLogs/default/web/app'))).status, 200, 'short ones have their own places');
  for (const one of followers) one.destroy();
  await eventually('their places are free', () => api.followers() === 0);
  t.is((await api.exchange(ask('POST /exec/default/web/app?command=x&output=1', SPDY))).status, 101);
});

test('CVE-2020-8551: what clients make up adds no series', async (t) => {
  const api = await scene(t);
  for (let i = 0; i < 50; i++) await api.exchange(ask(`GET /made-up-${i}/${i}`));
  for (let i = 0; i < 20; i++) await api.exchange(ask(`M-SEARCH /pods?${i}`));
  const series = (await api.registry.metrics()).match(/^kubelet_http_requests_total\{.*$/gm) ?? [];
  t.true(series.length <= 4, series.join('\n'));
});
