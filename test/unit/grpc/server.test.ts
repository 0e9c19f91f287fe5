import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import test from 'ava';
import { connectGrpc, GrpcError } from '../../../src/grpc/client.ts';
import { field, message, text } from '../../../src/grpc/message.ts';
import { createGrpcServer, serve } from '../../../src/grpc/server.ts';

const Word = message({ word: field(1, text) });
const SAY = { path: '/test.Echo/Say', request: Word, response: Word };
const OTHER = { path: '/test.Echo/Other', request: Word, response: Word };
const COUNT = { path: '/test.Echo/Count', request: Word, response: Word, streams: true as const };

test('a server on a Unix socket: answers, refusals, unknown methods, an old socket, closing', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-grpc-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const socketPath = join(folder, 'made/s.sock');
  const methods = [
    serve(SAY, async ({ word }) => {
      if (word === 'much') throw new GrpcError('ResourceExhausted', 'too much');
      if (word === 'bad') throw new Error('no good');
      return { word: `${word}!` };
    }),
  ];
  const server = createGrpcServer({ socketPath }, methods);
  await server.listen();
  t.teardown(() => server.close());
  const { mode } = await stat(socketPath);
  t.is(mode & 0o777, 0o600);
  t.is((await stat(join(folder, 'made'))).mode & 0o777, 0o750);

  const client = connectGrpc(socketPath);
  t.teardown(() => client.close());
  const say = (word: string, method = SAY) => client.call(method, { word }, { timeoutMs: 5000 });
  const words = await Promise.all(['a', 'b', 'c'].map((word) => say(word)));
  t.deepEqual(
    words.map(({ word }) => word),
    ['a!', 'b!', 'c!'],
  );
  await t.throwsAsync(say('much'), { message: 'rpc error: code = ResourceExhausted desc = too much' });
  await t.throwsAsync(say('bad'), { message: 'rpc error: code = Unknown desc = no good' });
  await t.throwsAsync(say('x', OTHER), { message: /^rpc error: code = Unimplemented / });

  await server.close();
  await server.close();
  await t.throwsAsync(stat(socketPath), { code: 'ENOENT' });
  await t.throwsAsync(say('late'), { message: /^rpc error: code = Unavailable / });

  // As an agent that was killed leaves it.
  const left = createGrpcServer({ socketPath }, methods);
  await left.listen();
  const again = createGrpcServer({ socketPath }, methods);
  await again.listen();
  t.teardown(async () => {
    await left.close();
    await again.close();
  });
  const other = connectGrpc(socketPath);
  t.teardown(() => other.close());
  t.deepEqual(await other.call(SAY, { word: 'new' }, { timeoutMs: 5000 }), { word: 'new!' });
});

test('a stream of answers: as they come, its end, an abort', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-grpc-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const socket = join(folder, 's.sock');
  const server = new Server();
  const definition = {
    path: COUNT.path,
    requestStream: false,
    responseStream: true,
    requestSerialize: Word.encode,
    requestDeserialize: Word.decode,
    responseSerialize: Word.encode,
    responseDeserialize: Word.decode,
  };
  server.addService({ Count: definition } as never, {
    Count(call: { request: { word: string }; write(value: object): void; end(): void }) {
      call.write({ word: 'one' });
      call.write({ word: 'two' });
      if (call.request.word !== 'hang') call.end();
    },
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
  t.teardown(() => server.forceShutdown());
  const client = connectGrpc(socket);
  t.teardown(() => client.close());

  const ended: string[] = [];
  const stop = new AbortController();
  for await (const { word } of client.stream(COUNT, { word: '' }, stop.signal)) ended.push(word);
  t.deepEqual(ended, ['one', 'two']);

  const hanging = async (whenTwo: () => void) => {
    for await (const { word } of client.stream(COUNT, { word: 'hang' }, stop.signal)) if (word === 'two') whenTwo();
  };
  await t.throwsAsync(
    hanging(() => server.forceShutdown()),
    { message: /^rpc error: code = / },
  );
  await t.throwsAsync(
    hanging(() => {}),
    { name: 'GrpcError' },
  );
});
