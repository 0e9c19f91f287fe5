import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { openBus } from '../../../src/dbus/bus.ts';

/** A socket whose owner treats each connection so. */
async function listen(t: ExecutionContext, answer: (socket: Socket) => void): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'berth-bus-'));
  const server = createServer(answer).listen(join(folder, 's'));
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return `unix:path=${join(folder, 's')}`;
}

const hello = { destination: 'a.b', path: '/', interface: 'a.b', member: 'C' };

for (const descriptors of [false, true]) {
  const kind = descriptors ? 'with descriptors' : 'plain';
  test(`${kind}: a bus that does not let us in is an error at once`, async (t) => {
    const address = await listen(t, (socket) => socket.on('data', () => socket.write('REJECTED ANONYMOUS\r\n')));
    const bus = await openBus(address, { descriptors });
    await t.throwsAsync(bus.call(hello), { message: /authentication/ });
    t.regex((await bus.closed)?.message ?? '', /authentication/);
  });

  test(`${kind}: a bus that speaks something else is an error at once`, async (t) => {
    const address = await listen(t, (socket) => {
      socket.write('OK 0123456789abcdef0123456789abcdef\r\n');
      if (descriptors) socket.write('AGREE_UNIX_FD\r\n');
      setTimeout(() => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'), 50);
    });
    const bus = await openBus(address, { descriptors });
    await t.throwsAsync(bus.call(hello));
    t.truthy(await bus.closed);
  });

  test(`${kind}: nobody there`, async (t) => {
    await t.throwsAsync(openBus('unix:path=/nonexistent/bus', { descriptors }), { message: /ENOENT/ });
  });

  test(`${kind}: a call is given up with its signal`, async (t) => {
    const address = await listen(t, () => {});
    const bus = await openBus(address, { descriptors });
    const stop = new AbortController();
    const call = bus.call(hello, stop.signal);
    setTimeout(() => stop.abort(), 20);
    await t.throwsAsync(call, { message: /abort/i });
    bus.close();
    t.is(await bus.closed, undefined);
  });
}
