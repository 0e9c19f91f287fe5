import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/*
 * Put into a network namespace by held-connections.ts. `echo PORT` serves; `hold HOST PORT COUNT` keeps connections in use and opens a new
 * one now and then, until a message comes.
 */
const [verb, ...rest] = process.argv.slice(2);
process.on('disconnect', () => process.exit(0));
if (verb === 'echo') await serve(Number(rest[0]));
else await hold(rest[0]!, Number(rest[1]), Number(rest[2]));

async function serve(port: number): Promise<void> {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket));
  await once(server.listen(port, '0.0.0.0'), 'listening');
  process.send!('ready');
}

async function hold(host: string, port: number, count: number): Promise<void> {
  let exchanged = 0;
  let opened = 0;
  let isOver = false;
  const lost: string[] = [];
  /** Longer than any pause of a busy machine; the kernel would send again long before. */
  const SILENCE_MS = 20_000;

  /** Sends a byte and waits for it to come back, `times` times. */
  async function use(times: number): Promise<void> {
    const socket = connect({ host, port });
    socket.setTimeout(SILENCE_MS, () => socket.destroy(new Error('no answer')));
    try {
      await once(socket, 'connect');
      opened++;
      for (let turn = 0; turn < times && !isOver; turn++) {
        socket.write('x');
        await once(socket, 'data');
        exchanged++;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    } catch (error) {
      lost.push((error as Error).message);
    } finally {
      socket.destroy();
    }
  }
  async function comeAndGo(): Promise<void> {
    while (!isOver) await use(3);
  }

  const all = [
    ...Array.from({ length: count }, () => use(Number.POSITIVE_INFINITY)),
    ...Array.from({ length: count }, comeAndGo),
  ];
  process.send!('ready');
  await once(process, 'message');
  isOver = true;
  await Promise.all(all);
  process.send!({ exchanged, opened, lost });
}
