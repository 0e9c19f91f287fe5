/** One pod's end of the bench: serves, or sends for as long as it is told. In the pod's namespace. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const STREAM_PORT = 5001;
const ECHO_PORT = 5002;
const CHUNK = Buffer.alloc(256 * 1024);
/** Until the connection has found its pace. */
const WARM_UP_MS = 150;

export type TrafficOrder =
  | { serve: true }
  | { stream: string; milliseconds: number }
  | { echo: string; milliseconds: number };

process.on('message', async (order: TrafficOrder) => process.send!(await obey(order)));
process.on('disconnect', () => process.exit(0));

async function obey(order: TrafficOrder): Promise<number> {
  if ('serve' in order) return serve();
  return 'stream' in order ? stream(order.stream, order.milliseconds) : echo(order.echo, order.milliseconds);
}

async function serve(): Promise<number> {
  await once(createServer((socket) => socket.on('error', () => {}).resume()).listen(STREAM_PORT), 'listening');
  await once(
    createServer((socket) =>
      socket
        .setNoDelay(true)
        .on('error', () => {})
        .pipe(socket),
    ).listen(ECHO_PORT),
    'listening',
  );
  return 0;
}

/** Megabits a second that the receiver has acknowledged room for. */
async function stream(host: string, milliseconds: number): Promise<number> {
  const socket = connect({ host, port: STREAM_PORT });
  await once(socket, 'connect');
  const send = async (until: number) => {
    let bytes = 0;
    while (performance.now() < until) {
      bytes += CHUNK.length;
      if (!socket.write(CHUNK)) await once(socket, 'drain');
    }
    return bytes;
  };
  await send(performance.now() + WARM_UP_MS);
  const startMs = performance.now();
  const bytes = await send(startMs + milliseconds);
  const rate = (bytes * 8) / (performance.now() - startMs) / 1000;
  socket.resetAndDestroy();
  return rate;
}

/** Microseconds from a byte to its echo, the middle of them all. */
async function echo(host: string, milliseconds: number): Promise<number> {
  const socket = connect({ host, port: ECHO_PORT, noDelay: true });
  await once(socket, 'connect');
  const microseconds: number[] = [];
  const until = performance.now() + milliseconds;
  while (performance.now() < until) {
    const sentMs = performance.now();
    socket.write('!');
    await once(socket, 'data');
    microseconds.push((performance.now() - sentMs) * 1000);
  }
  socket.resetAndDestroy();
  return microseconds.sort((one, other) => one - other)[Math.floor(microseconds.length / 2)]!;
}
