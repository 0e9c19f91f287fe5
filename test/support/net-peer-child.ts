import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AskRequest, ServeRequest } from './net-peer.ts';

/** What is to be answered is, however busy the machine is; what is not to be has a time of its own. */
const PATIENCE_MS = 30_000;

/** The process that startPeer puts into a namespace; see net-peer.ts. */
process.on('message', async ({ id, serve, ask }: { id: number; serve?: ServeRequest; ask?: AskRequest }) => {
  const answer = serve ? await startServing(serve) : ask?.protocol === 'udp' ? await askUdp(ask) : await askTcp(ask!);
  process.send!({ id, answer });
});
process.on('disconnect', () => process.exit(0));

async function startServing({ name, tcp, udp }: ServeRequest): Promise<string> {
  if (tcp) {
    const server = createServer((socket) => socket.on('error', () => {}).end(`${name} ${plain(socket.remoteAddress)}`));
    await once(server.listen(tcp, '0.0.0.0'), 'listening');
  }
  if (udp) {
    const socket = createSocket('udp4');
    socket.on('message', (_data, from) => socket.send(`${name} ${from.address}`, from.port, from.address));
    await once(socket.bind(udp, '0.0.0.0'), 'listening');
  }
  return 'ok';
}

function plain(address = ''): string {
  return address.replace('::ffff:', '');
}

function askTcp({ host, port, timeoutMs = PATIENCE_MS }: AskRequest): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect({ host, port });
    socket.setTimeout(timeoutMs, () => {
      resolve('TIMEOUT');
      socket.destroy();
    });
    socket.on('data', (data) => {
      text += data;
    });
    socket.on('end', () => resolve(text));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

function askUdp({ host, port, localPort, timeoutMs = PATIENCE_MS }: AskRequest): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const done = (answer: string) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => done('TIMEOUT'), timeoutMs);
    socket.on('message', (data) => done(String(data)));
    socket.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
    // Connected, so that an ICMP "port unreachable" is heard.
    socket.bind(localPort ?? 0, () => socket.connect(port, host, () => socket.send('?')));
  });
}
