import { createServer, request } from 'node:http';
import type { Duplex } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import test from 'ava';
import { createConnectionPair } from '../../../src/streaming/connection-pair.ts';

const written = (end: Duplex, data: string | Buffer) =>
  new Promise<Error | null | undefined>((resolve) => end.write(data, resolve));

test('what one end writes the other reads, both ways, and half-closes are passed on', async (t) => {
  const [one, other] = createConnectionPair();
  const asked = text(other);
  one.end('question');
  t.is(await asked, 'question');
  const answered = text(one);
  other.end('answer, after the question has ended');
  t.is(await answered, 'answer, after the question has ended');
  await turn();
  t.true(one.destroyed && other.destroyed);
});

test('a reader that does not read holds the writer up; all of it comes', async (t) => {
  const [one, other] = createConnectionPair();
  const block = Buffer.alloc(64 * 1024, 'x');
  let taken = 0;
  const writing = (async () => {
    for (let at = 0; at < 100; at++) {
      await written(one, block);
      taken++;
    }
    one.end();
  })();
  await turn();
  t.true(taken < 5, `${taken} blocks were taken though nobody reads`);
  t.is((await buffer(other)).length, 100 * block.length);
  await writing;
});

test('an end that hangs up is noticed: reading ends, what waits and what is written fails', async (t) => {
  const [one, other] = createConnectionPair();
  other.on('error', () => {});
  const waiting = written(other, Buffer.alloc(256 * 1024));
  one.destroy();
  t.is(((await waiting) as NodeJS.ErrnoException).code, 'EPIPE');

  const [third, fourth] = createConnectionPair();
  fourth.on('error', () => {});
  third.destroy();
  t.is(await text(fourth), '');
  t.is(((await written(fourth, 'more')) as NodeJS.ErrnoException).code, 'EPIPE');
});

test('HTTP runs over it: a request with a body, an answer that does not end, a client that leaves', async (t) => {
  const gone = Promise.withResolvers<void>();
  const server = createServer(async (incoming, response) => {
    response.once('close', () => gone.resolve());
    response.write(`${incoming.method} ${await text(incoming)}`);
  });
  const [ours, its] = createConnectionPair();
  server.emit('connection', its);
  const call = request({ createConnection: () => ours as never, method: 'POST', path: '/' });
  call.end('body');
  const [head] = await new Promise<[string]>((resolve) => {
    call.once('response', (answer) => answer.once('data', (chunk) => resolve([String(chunk)])));
  });
  t.is(head, 'POST body');
  call.on('error', () => {});
  call.destroy();
  await gone.promise;
  await turn();
  t.true(ours.destroyed && its.destroyed);
});
