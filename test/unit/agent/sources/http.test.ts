import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { createHttpSource } from '../../../../agent/sources/http.ts';
import type { PodSink } from '../../../../agent/sources/source.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import type { Logger } from '../../../../src/runtime/log.ts';
import { until } from '../fake-agent.ts';

const pod = (name: string, container: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { containers: [{ name: 'a', image: 'i', ...container }] },
});
const list = (...items: object[]) => JSON.stringify({ apiVersion: 'v1', kind: 'PodList', items });

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
const text =
  (body: string, status = 200): Answer =>
  (_, response) =>
    void response.writeHead(status).end(body);

async function scene(
  t: ExecutionContext,
  options: { headers?: Record<string, string[]>; login?: string; timeoutMs?: number } = {},
) {
  let answer = text('');
  let requests = 0;
  const server = createServer((request, response) => {
    requests++;
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const lines: string[] = [];
  const note = (level: string) => (_: object, message: string) => lines.push(`${level} ${message}`);
  const log = { error: note('error'), info: note('info'), warn: note('warn'), debug() {} } as unknown as Logger;
  const problems = new Map<string, string>();
  const sets: Pod[][] = [];
  const sink: PodSink = { set: (pods) => sets.push(pods), upsert() {}, remove() {} };
  const stop = new AbortController();
  const source = createHttpSource(
    {
      url: `http://${options.login ?? ''}127.0.0.1:${port}/pods`,
      headers: options.headers ?? {},
      nodeName: 'n',
      checkMs: 10,
      timeoutMs: options.timeoutMs ?? 5000,
    },
    {
      clock: systemClock,
      log,
      problems(origin, problem) {
        const place = origin.replace(String(port), 'PORT');
        if (problem === undefined) problems.delete(place);
        else problems.set(place, problem);
      },
    },
  );
  const running = source.run(sink, stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
    server.closeAllConnections();
    server.close();
  });
  return {
    sets,
    lines,
    problems,
    names: () => (sets.at(-1) ?? []).map(({ metadata }) => metadata.name),
    async serve(next: Answer) {
      answer = next;
      const before = requests;
      await until('two requests', () => requests >= before + 2);
    },
  };
}

test('a Pod, then a PodList, then none; the same answer again is no news', async (t) => {
  const { serve, names, sets } = await scene(t);
  await serve(text(JSON.stringify(pod('one'))));
  await until('one', () => names()[0] === 'one-n');
  await serve(text(list(pod('one'), pod('two'))));
  await until('two', () => names().length === 2);
  const [one] = sets.at(-1)!;
  const before = sets.length;
  await serve(text(list(pod('one'), pod('two'))));
  t.is(sets.length, before);
  await serve(text(list(pod('three'), pod('one'))));
  await until('three', () => names().includes('three-n'));
  t.is(
    sets.at(-1)!.find(({ metadata }) => metadata.name === 'one-n'),
    one,
    'what did not change stays the same pod',
  );
  await serve(text(list()));
  await until('none', () => names().length === 0);
});

test('an empty answer is no pods', async (t) => {
  const { serve, names, sets } = await scene(t);
  await until('heard of', () => sets.length > 0);
  await serve(text(JSON.stringify(pod('one'))));
  await until('one', () => names().length === 1);
  await serve(text(''));
  await until('none', () => names().length === 0);
  t.pass();
});

const DRIP: Answer = (_, response) => {
  response.writeHead(200);
  response.write('{"apiVersion":');
};
const HUGE: Answer = (_, response) => {
  response.writeHead(200);
  const chunk = ' '.repeat(1 << 20);
  const more = () => !response.destroyed && response.write(chunk, () => setImmediate(more));
  more();
};
for (const [title, answer, says] of [
  ['404', text('no', 404), /answered 404 Not Found/],
  ['500', text(JSON.stringify(pod('x')), 500), /answered 500/],
  ['204', text('', 204), /answered 204/],
  ['silence', () => {}, /no whole answer within 0\.3 s/],
  ['half an answer', DRIP, /no whole answer within 0\.3 s/],
  ['a broken connection', (_, response) => response.destroy(), /fetch failed/],
  ['more than anybody writes', HUGE, /answered with more than 10 MiB|no whole answer/],
  [
    'redirects for ever',
    (_, response) => response.writeHead(302, { location: '/again' }).end(),
    /redirect|no whole answer/,
  ],
  ['HTML', text('<html></html>'), undefined],
  ['a Service', text('{"apiVersion":"v1","kind":"Service"}'), undefined],
] as [string, Answer, RegExp | undefined][])
  test(`what runs goes on: ${title}`, async (t) => {
    const { serve, names, lines, problems } = await scene(
      t,
      says?.source.includes('no whole answer') ? { timeoutMs: 300 } : {},
    );
    await serve(text(JSON.stringify(pod('one'))));
    await until('one', () => names().length === 1);
    await serve(answer);
    await until('told', () => problems.size > 0);
    t.deepEqual(names(), ['one-n']);
    if (says) t.regex(lines.find((line) => line.startsWith('warn'))!, says);
    else
      t.regex(
        lines.find((line) => line.startsWith('error'))!,
        /static pod manifest ignored: .*earlier version goes on|ignored/,
      );
    await serve(text(JSON.stringify(pod('two'))));
    await until('two', () => names()[0] === 'two-n');
    await until('all is well', () => problems.size === 0);
    t.deepEqual(names(), ['two-n']);
  });

test('a bad item is named by its index; the good ones run; its earlier version goes on', async (t) => {
  const { serve, names, sets, problems } = await scene(t);
  await serve(text(list(pod('one'), pod('two'))));
  await until('both', () => names().length === 2);
  const two = sets.at(-1)![1];
  await serve(text(list(pod('three'), pod('two', { imgae: 'x' }), pod('four', { image: '' }))));
  await until('three', () => names().includes('three-n'));
  t.deepEqual([...names()].sort(), ['three-n', 'two-n']);
  t.is(
    sets.at(-1)!.find(({ metadata }) => metadata.name === 'two-n'),
    two,
  );
  t.deepEqual(
    [...problems],
    [
      ['http://127.0.0.1:PORT/pods items[1]', 'unknown field "spec.containers[0].imgae"'],
      ['http://127.0.0.1:PORT/pods items[2]', 'spec.containers[0].image: required'],
    ],
  );
});

test('headers go with every request; a login in the URL becomes one and is shown to nobody', async (t) => {
  const { serve, problems } = await scene(t, { headers: { 'X-Token': ['a', 'b'] }, login: 'me:s3cret@' });
  let seen: IncomingMessage['headers'] = {};
  await serve((request, response) => {
    seen = request.headers;
    response.writeHead(500).end();
  });
  t.is(seen['x-token'], 'a, b');
  t.is(seen.authorization, `Basic ${Buffer.from('me:s3cret').toString('base64')}`);
  t.deepEqual([...problems.keys()], ['GET http://me:xxxxx@127.0.0.1:PORT/pods']);
});

test('a server that stays down is told of three times', async (t) => {
  const { serve, lines } = await scene(t);
  for (let round = 0; round < 4; round++) await serve(text('', 503));
  t.is(lines.filter((line) => line.startsWith('warn')).length, 3);
  await serve(text(JSON.stringify(pod('one'))));
  await until('told that it is back', () => lines.at(-1) === 'info static pods could be read again');
  t.pass();
});
