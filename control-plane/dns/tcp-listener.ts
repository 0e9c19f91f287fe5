import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type Handler, MAX_QUERY_BYTES, type Peer } from './handler.ts';
import type { Listener } from './udp-listener.ts';

/** A connection without a query for so long is closed. */
const IDLE_MS = 10_000;
const MAX_CONNECTIONS = 1000;
/** A client that does not read its answers is asked no more questions, and then has none. */
const MAX_UNREAD_BYTES = 1 << 20;

export interface TcpOptions {
  address: string;
  port: number;
  /** Called for connections that are closed because of what came over them. */
  onRefused(reason: string): void;
}

/** Serves TCP: messages behind their length in two bytes, as many per connection as the client likes, answered as they are ready. */
export function listenTcp(options: TcpOptions, handler: Handler): Promise<Listener> {
  const connections = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    connections.add(socket);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('close', () => connections.delete(socket));
    socket.on('error', () => socket.destroy());
    serve(socket, options, handler);
  });
  server.maxConnections = MAX_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: options.address, port: options.port, reusePort: true }, () => {
      server.off('error', reject);
      resolve({
        port: (server.address() as AddressInfo).port,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            for (const socket of connections) socket.destroySoon();
          }),
      });
    });
  });
}

function serve(socket: Socket, options: TcpOptions, handler: Handler): void {
  const family = socket.remoteFamily === 'IPv6' ? 6 : 4;
  const peer: Peer = { address: socket.remoteAddress ?? '', family, transport: 'tcp' };
  let waiting: Buffer = Buffer.alloc(0);
  const send = (answer: Buffer) => {
    if (socket.destroyed) return;
    const length = Buffer.allocUnsafe(2);
    length.writeUInt16BE(answer.length);
    socket.cork();
    socket.write(length);
    socket.write(answer);
    socket.uncork();
    if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
  };
  socket.on('data', (chunk: Buffer) => {
    waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
    while (waiting.length >= 2) {
      const length = waiting.readUInt16BE(0);
      if (length > MAX_QUERY_BYTES) {
        options.onRefused('too long');
        socket.destroy();
        return;
      }
      if (waiting.length < 2 + length) return;
      handler(waiting.subarray(2, 2 + length), peer, send);
      waiting = waiting.subarray(2 + length);
    }
  });
}
