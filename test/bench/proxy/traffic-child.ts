import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { clusterIpOf, LIVE_PORT, type TrafficOrder } from './world.ts';

/** Clients and endpoints inside the proxy's namespace: traffic tells when a change is in force, whatever the mode. */

const ANSWER_TIMEOUT_MS = 50;
/** Below the kernel's own choice (32768–60999). */
const ASK_PORTS = { first: 12_000, count: 20_000 };
const CHUNK = Buffer.alloc(256 * 1024);

process.on('message', async (order: TrafficOrder & { id: number }) => {
  const answer = await obey(order).catch((error: Error) => ({ error: error.message }));
  process.send!({ id: order.id, answer });
});
process.on('disconnect', () => process.exit(0));

async function obey(order: TrafficOrder): Promise<unknown> {
  if ('serve' in order) for (const address of order.serve) await serve(address);
  else if ('until' in order) return untilAnswers(order.until);
  else if ('connects' in order) return connectOften(order.connects);
  else if ('stream' in order) return stream(order.stream);
  else return fetch(order.page).then((response) => response.text());
}

/** Says which endpoint it is, and swallows what it is sent. */
async function serve(address: string): Promise<void> {
  const server = createServer((socket) => {
    socket.on('error', () => {}).write(address);
    socket.resume();
  });
  await once(server.listen(LIVE_PORT, address), 'listening');
}

let asked = 0;

/**
 * Who answers at a service; undefined when nobody does in time. From ports of its own: the kernel remembers for two minutes that a packet from a
 * port was not translated, and would not translate the next one from there.
 */
async function ask(service: number): Promise<string | undefined> {
  const localPort = ASK_PORTS.first + (asked++ % ASK_PORTS.count);
  const socket = connect({ host: clusterIpOf(service), port: 80, localPort });
  try {
    return await new Promise((resolve) => {
      socket.setTimeout(ANSWER_TIMEOUT_MS, () => resolve(undefined));
      socket.once('data', (data) => resolve(String(data)));
      socket.once('error', () => resolve(undefined));
    });
  } finally {
    socket.resetAndDestroy();
  }
}

async function untilAnswers(wanted: { service: number; endpoint: string; timeoutMs: number }): Promise<number> {
  const deadlineMs = performance.now() + wanted.timeoutMs;
  while ((await ask(wanted.service)) !== wanted.endpoint) {
    if (performance.now() > deadlineMs) throw new Error(`${wanted.endpoint} did not answer in ${wanted.timeoutMs} ms`);
    await sleep(1);
  }
  return performance.timeOrigin + performance.now();
}

async function connectOften({ service, count }: { service: number; count: number }): Promise<number[]> {
  const microseconds: number[] = [];
  for (let index = 0; index < count; index++) {
    const socket = connect({ host: clusterIpOf(service), port: 80 });
    const startMs = performance.now();
    await once(socket, 'connect');
    microseconds.push((performance.now() - startMs) * 1000);
    socket.resetAndDestroy();
  }
  return microseconds;
}

async function stream({ service, mebibytes }: { service: number; mebibytes: number }): Promise<number> {
  const socket: Socket = connect({ host: clusterIpOf(service), port: 80 });
  await once(socket, 'connect');
  const startMs = performance.now();
  for (let sent = 0; sent < mebibytes * 2 ** 20; sent += CHUNK.length)
    if (!socket.write(CHUNK)) await once(socket, 'drain');
  const seconds = (performance.now() - startMs) / 1000;
  socket.resetAndDestroy();
  return mebibytes / seconds;
}
