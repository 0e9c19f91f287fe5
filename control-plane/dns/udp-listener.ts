import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { Logger } from '../../src/runtime/log.ts';
import type { Handler, Peer } from './handler.ts';

/** A burst while the loop is busy (a list of thousands of Services) waits here instead of being dropped. */
const RECEIVE_BUFFER_BYTES = 4 << 20;

export interface Listener {
  port: number;
  close(): Promise<void>;
}

/** Serves UDP. A second process may listen on the same port (SO_REUSEPORT): that is how one takes over from another. */
export function listenUdp(
  endpoint: { address: string; port: number },
  handler: Handler,
  log: Logger,
): Promise<Listener> {
  const family = isIPv6(endpoint.address) ? 6 : 4;
  const socket = createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    reusePort: true,
    // Replies go to addresses, never to names.
    lookup: (address, _options, callback) => callback(null, address, family),
  });
  socket.on('message', (message, { address, port }) => {
    const peer: Peer = { address, family, transport: 'udp' };
    handler(message, peer, (answer) => {
      // A client that is gone already is no matter of ours.
      socket.send(answer, 0, answer.length, port, address, ignore);
    });
  });
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(endpoint.port, endpoint.address, () => {
      socket.off('error', reject);
      socket.on('error', (error) => log.warn({ err: error }, 'the UDP socket reported an error'));
      growReceiveBuffer(socket, log);
      resolve({
        port: socket.address().port,
        close: () => new Promise((closed) => socket.close(() => closed())),
      });
    });
  });
}

function ignore(): void {}

function growReceiveBuffer(socket: Socket, log: Logger): void {
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
  } catch (error) {
    log.debug({ err: error }, 'the UDP receive buffer stays as it is');
  }
}
