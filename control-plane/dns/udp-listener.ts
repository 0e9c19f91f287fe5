import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp } from '../../src/linux/ip.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Handler, Peer } from './handler.ts';

/** A burst while the loop is busy (a list of thousands of Services) waits here instead of being dropped. */
const RECEIVE_BUFFER_BYTES = 4 << 20;

export interface Listener {
  port: number;
  close(): Promise<void>;
}

export interface UdpListener extends Listener {
  /** Takes what has come, and no more: what comes now goes to another process on this port. Answers can still be sent. */
  drain(): Promise<void>;
}

/** discard: nobody sends from there. */
const NOBODY_PORT = 9;
/** Without a message for so long, the queue is empty. */
const QUIET_MS = 20;

/** Serves UDP. A second process may listen on the same port (SO_REUSEPORT): that is how one takes over from another. */
export function listenUdp(
  endpoint: { address: string; port: number },
  handler: Handler,
  log: Logger,
): Promise<UdpListener> {
  const family = isIPv6(endpoint.address) ? 6 : 4;
  const socket = createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    reusePort: true,
    // Replies go to addresses, never to names.
    lookup: (address, _options, callback) => callback(null, address, family),
  });
  let messages = 0;
  socket.on('message', (message, { address, port }) => {
    messages++;
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
        async drain() {
          await leaveToOthers(socket, endpoint.address).catch((error: unknown) =>
            log.warn({ err: error }, 'queries that come while this server ends may be lost'),
          );
          for (let before = -1; before !== messages; ) {
            before = messages;
            await sleep(QUIET_MS);
          }
        },
        close: () => new Promise((closed) => socket.close(() => closed())),
      });
    });
  });
}

/**
 * The kernel gives no more packets to a socket that is connected to somebody who never sends; those already in its queue stay, and it can
 * still send anywhere. Node itself offers only a connect after which it refuses to send to others.
 */
async function leaveToOthers(socket: Socket, address: string): Promise<void> {
  const fd = descriptorOf(socket);
  if (fd === undefined) throw new Error('this version of Node hides the descriptor of a UDP socket');
  // Loaded now: a server that runs for months has no other use for it.
  const { connectInternet } = await import('../../src/linux/libc.ts');
  connectInternet(fd, parseIp(address), NOBODY_PORT);
}

/** Node keeps the handle in a property that has a symbol for its name. */
function descriptorOf(socket: Socket): number | undefined {
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    const { handle } = (socket as unknown as Record<symbol, { handle?: { fd?: number } } | undefined>)[symbol] ?? {};
    if (typeof handle?.fd === 'number' && handle.fd >= 0) return handle.fd;
  }
  return undefined;
}

function ignore(): void {}

function growReceiveBuffer(socket: Socket, log: Logger): void {
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
  } catch (error) {
    log.debug({ err: error }, 'the UDP receive buffer stays as it is');
  }
}
