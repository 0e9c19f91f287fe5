import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import express from 'express';
import { serveProfiles } from '../../../src/diagnostics/profiles.ts';
import { type Clock, systemClock } from '../../../src/runtime/clock.ts';

/** A server of profiles. @returns what it answers to a path */
async function serve(t: ExecutionContext, clock: Clock): Promise<(path: string) => Promise<Response>> {
  const app = express();
  serveProfiles(app, { clock });
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (path) => fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/debug/pprof/${path}`);
}

test('one at a time in a process, whatever server is asked', async (t) => {
  const [begun, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const first = await serve(t, {
    ...systemClock,
    async sleep() {
      begun.resolve();
      await end.promise;
    },
  });
  const second = await serve(t, { ...systemClock, sleep: async () => {} });
  const asked = first('heap');
  await begun.promise;
  const refused = await second('heap');
  t.is(refused.status, 500);
  t.is(await refused.text(), 'Could not enable heap profiling: profiling already in use\n');
  end.resolve();
  t.is((await asked).status, 200, 'the second one did not end the first');
  t.is((await second('heap')).status, 200);
});
