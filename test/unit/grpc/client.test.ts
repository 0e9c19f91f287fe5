import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import test from 'ava';
import { connectGrpc } from '../../../src/grpc/client.ts';
import { field, message, text } from '../../../src/grpc/message.ts';

const Word = message({ word: field(1, text) });
const ECHO = { path: '/test.Echo/Say', request: Word, response: Word };

async function serve(socket: string) {
  const server = new Server();
  const method = {
    path: ECHO.path,
    requestStream: false,
    responseStream: false,
    requestSerialize: Word.encode,
    requestDeserialize: Word.decode,
    responseSerialize: Word.encode,
    responseDeserialize: Word.decode,
  } as const;
  server.addService({ Say: method } as never, {
    Say(call: { request: { word: string } }, done: (error: object | null, answer?: { word: string }) => void) {
      if (call.request.word === 'no') done({ code: status.FAILED_PRECONDITION, details: 'will not' });
      else if (call.request.word !== 'hang') done(null, { word: `${call.request.word}!` });
    },
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
  return server;
}

test('calls over a Unix socket: answers, refusals, deadlines, aborts, a server that comes back', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'berth-grpc-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const socket = join(folder, 's');
  const client = connectGrpc(socket);
  t.teardown(() => client.close());
  const say = (word: string, signal?: AbortSignal) =>
    client.call(ECHO, { word }, { timeoutMs: word === 'hang' ? 50 : 5000, ...(signal && { signal }) });

  await t.throwsAsync(say('early'), { name: 'GrpcError', message: /^rpc error: code = Unavailable desc = / });
  let server = await serve(socket);
  t.teardown(() => server.forceShutdown());
  for (;;) {
    const answer = await say('hello').catch(() => undefined);
    if (!answer) continue;
    t.deepEqual(answer, { word: 'hello!' });
    break;
  }
  await t.throwsAsync(say('no'), { message: 'rpc error: code = FailedPrecondition desc = will not' });
  await t.throwsAsync(say('hang'), { message: /^rpc error: code = DeadlineExceeded desc = / });
  const stop = new AbortController();
  const aborted = client.call(ECHO, { word: 'hang' }, { timeoutMs: 60_000, signal: stop.signal });
  stop.abort(new Error('enough'));
  await t.throwsAsync(aborted, { message: 'enough' });

  server.forceShutdown();
  await rm(socket, { force: true });
  server = await serve(socket);
  for (;;) {
    const answer = await say('again').catch(() => undefined);
    if (answer) {
      t.deepEqual(answer, { word: 'again!' });
      break;
    }
  }
});
