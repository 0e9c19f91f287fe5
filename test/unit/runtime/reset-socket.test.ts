import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../../src/runtime/reset-socket.ts';

/** Both ends of a connection on this machine. */
async function connection(t: ExecutionContext): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  t.teardown(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const near = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(near, 'connect');
  const [far] = await accepted;
  return { near, far };
}

test('an open connection is reset', async (t) => {
  const { near, far } = await connection(t);
  const broken = once(far.resume(), 'error');
  resetSocket(near);
  t.like(await broken, [{ code: 'ECONNRESET' }]);
});

for (const [what, before] of [
  ['whose end is being told', (near: Socket) => near.end()],
  ['that ends once it has written', (near: Socket) => near.write('x') && near.end()],
  ['that has ended', (near: Socket) => new Promise<void>((resolve) => near.end(resolve))],
] as [string, (near: Socket) => unknown][])
  test(`a connection ${what} is closed, with its descriptor`, async (t) => {
    const { near, far } = await connection(t);
    await before(near);
    const closed = once(near, 'close');
    resetSocket(near);
    await closed;
    t.is(near.errored, null);
    far.destroy();
  });

test('one that is closed already stays so', async (t) => {
  const { near, far } = await connection(t);
  near.destroy();
  await once(near, 'close');
  resetSocket(near);
  t.true(near.destroyed);
  far.destroy();
});
