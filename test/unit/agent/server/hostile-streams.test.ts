import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import test, { type ExecutionContext } from 'ava';
import { ping, rstStream, synStream } from '../../../../src/streaming/spdy/frames.ts';
import { createHeaderWriter } from '../../../../src/streaming/spdy/headers.ts';
import { eventually } from '../../../support/agent.ts';
import {
  type NodeApi,
  type NodeApiOptions,
  type NodeClient,
  openSockets,
  startNodeApi,
} from '../../../support/node-api.ts';
import { type Recording, recordings, webSocketFrame } from '../../../support/stream-clients.ts';

async function scene(t: ExecutionContext, options: NodeApiOptions = {}): Promise<NodeApi> {
  t.timeout(300_000);
  const api = await startNodeApi(options);
  t.teardown(() => api.close());
  // What is opened once for all is no leak.
  await api.exchange(Buffer.from('GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n'));
  return api;
}

/** Nothing of what a client has begun is left. */
async function assertNothingLeft(t: ExecutionContext, api: NodeApi, before: number): Promise<void> {
  await eventually('every process was ended or had its end', () =>
    api.processes.every(({ closed, stream }) => closed > 0 || stream.destroyed || stream.readableEnded),
  );
  await eventually('no connection to a pod', () => api.forwarded() === 0);
  await eventually('no request under way', async () => {
    const lines = (await api.registry.metrics()).match(/^kubelet_http_inflight_requests\{.*$/gm) ?? [];
    return lines.every((line) => line.endsWith(' 0'));
  });
  await eventually('sockets as before', () => openSockets() <= before);
  t.is((await api.exchange('GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n')).status, 200);
}

const ways = {
  'a FIN': ({ tls }: NodeClient) => tls.destroy(),
  'a reset': (client: NodeClient) => client.reset(),
};

for (const [way, leave] of Object.entries(ways))
  test.serial(`a client that vanishes with ${way}, at every phase of every protocol, leaves nothing`, async (t) => {
    const api = await scene(t, {
      startMs: 15,
      // Long enough to vanish meanwhile.
      beforeAccess: async () => void (await sleep(10)),
    });
    const before = openSockets();
    for (const { pieces } of recordings())
      for (let sent = 0; sent <= pieces.length; sent++)
        await Promise.all(
          // At once (the judge, or the process, is still on its way), and when all that was sent has had its effect.
          [0, 12, 40].map(async (waitMs) => {
            const client = await api.openBoth();
            client.tls.resume();
            for (const piece of pieces.slice(0, sent)) client.tls.write(piece);
            // The next one is cut in the middle.
            const torn = pieces[sent];
            if (torn) client.tls.write(torn.subarray(0, torn.length >> 1));
            await sleep(waitMs);
            leave(client);
          }),
        );
    // However slow the machine is: some that leave while their process runs.
    for (const { pieces } of recordings().filter(({ name }) => name.endsWith('exec'))) {
      const begun = api.processes.length;
      const client = await api.openBoth();
      client.tls.resume();
      for (const piece of pieces.slice(0, -3)) client.tls.write(piece);
      await eventually('its process runs', () => api.processes.length > begun);
      leave(client);
    }
    await assertNothingLeft(t, api, before);
  });

/** What is held, not what is not yet collected. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

/** A generator of numbers below `limit`, the same for the same seed (mulberry32). */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296) * limit);
  };
}

/** Frames of a recording with bytes changed, lost, said twice, or of no sense at all. The request before them stays. */
function spoil({ pieces }: Recording, pick: (limit: number) => number): Buffer[] {
  const [request, ...frames] = pieces;
  for (let times = 1 + pick(4); times > 0; times--) {
    const at = pick(frames.length);
    const frame = Buffer.from(frames[at] ?? Buffer.alloc(1));
    switch (pick(6)) {
      case 0:
        for (let i = 0; i <= pick(8); i++) frame[pick(frame.length)] = pick(256);
        frames[at] = frame;
        break;
      case 1:
        // Heads decide more than contents.
        frame[pick(Math.min(10, frame.length))] = pick(256);
        frames[at] = frame;
        break;
      case 2:
        frames.splice(at, 1 + pick(2));
        break;
      case 3:
        frames.splice(at, 0, frame);
        break;
      case 4:
        frames[at] = frame.subarray(0, pick(frame.length));
        break;
      default:
        frames.splice(at, 0, Buffer.from(Array.from({ length: pick(200) }, () => pick(256))));
    }
  }
  return [request!, ...frames];
}

/** Whatever error comes before. */
const closed = (socket: TLSSocket) =>
  socket.closed ? Promise.resolve() : new Promise<void>((resolve) => socket.once('close', () => resolve()));

const CASES = process.env['BERTH_TEST_FULL'] === '1' ? 2000 : 60;

for (const recording of recordings())
  test.serial(`fuzzed frames: ${recording.name}`, async (t) => {
    const api = await scene(t);
    const before = openSockets();
    for (let first = 0; first < CASES; first += 10)
      await Promise.all(
        Array.from({ length: 10 }, async (_, i) => {
          const pick = random(first + i + 1);
          const client = await api.openBoth();
          client.tls.resume();
          for (const piece of spoil(recording, pick)) {
            if (client.tls.destroyed) break;
            client.tls.write(piece);
            if (pick(3) === 0) await sleep(0);
          }
          await Promise.race([closed(client.tls), sleep(15)]);
          if (pick(2) === 0) client.tls.destroy();
          else client.reset();
          // Of a TLS socket that has failed the connection below is still open.
          client.tcp.destroy();
        }),
      );
    await assertNothingLeft(t, api, before);
  });

/** Sends as much as is taken within the time; the answers are not fetched. @returns bytes */
async function flood(api: NodeApi, request: Buffer, chunk: () => Buffer, forMs: number): Promise<number> {
  const socket = await api.open();
  socket.write(request);
  await once(socket, 'data');
  socket.pause();
  let sent = 0;
  const until = performance.now() + forMs;
  while (performance.now() < until && !socket.destroyed) {
    const bytes = chunk();
    sent += bytes.length;
    if (!socket.write(bytes))
      await Promise.race([once(socket, 'drain').catch(() => {}), sleep(until - performance.now())]);
    else await sleep(0);
  }
  socket.destroy();
  return sent;
}

const [spdyExec, spdyForward, webSocketExec] = recordings();

test.serial('pings whose answers nobody fetches stop being read; nothing is piled up', async (t) => {
  const api = await scene(t);
  const sockets = openSockets();
  const pings = Buffer.concat(Array.from({ length: 5000 }, () => ping(1)));
  const overSpdy = await flood(api, spdyExec!.pieces[0]!, () => pings, 1500);
  // What lies in the kernel's buffers of both ends, and the node's bound: far from what a second would bring.
  t.true(overSpdy < 24 << 20, `${overSpdy} bytes of SPDY pings were taken`);
  const before = process.memoryUsage().rss;
  const frames = Buffer.concat(Array.from({ length: 2000 }, () => webSocketFrame(9, Buffer.alloc(100, 'p'))));
  await flood(api, webSocketExec!.pieces[0]!, () => frames, 1500);
  const grownMiB = (process.memoryUsage().rss - before) / 2 ** 20;
  t.true(grownMiB < 100, `grown by ${grownMiB.toFixed()} MiB`);
  // They left while the node waited for them to fetch.
  await assertNothingLeft(t, api, sockets);
});

test.serial('streams that are opened and reset all day long leave nothing behind', async (t) => {
  const api = await scene(t);
  const headers = createHeaderWriter();
  let id = -1;
  const churn = () =>
    Buffer.concat(
      Array.from({ length: 500 }, () => {
        id += 2;
        return Buffer.concat([
          synStream(id, headers({ streamtype: 'error', port: '80', requestid: String(id) })),
          rstStream(id, 5),
        ]);
      }),
    );
  const socket = await api.open();
  socket.write(spdyForward!.pieces[0]!);
  await once(socket, 'data');
  socket.resume();
  for (let round = 0; round < 10; round++) {
    if (!socket.write(churn())) await once(socket, 'drain');
  }
  await sleep(300);
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  for (let round = 0; round < 60; round++) {
    if (!socket.write(churn())) await once(socket, 'drain');
    if (round % 10 === 0) await sleep(50);
  }
  await sleep(500);
  collectGarbage();
  const perStream = (process.memoryUsage().heapUsed - before) / 30_000;
  // Half a pair that waited for its other half was more than a kilobyte.
  t.true(perStream < 500, `${perStream.toFixed()} bytes of heap a stream`);
  t.false(socket.destroyed);
  socket.destroy();
});
