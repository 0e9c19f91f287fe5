import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

export interface ConnectionLimits {
  /** Open at once; more are closed at once. */
  all: number;
  /** Of these such as have not yet shown a request that was let in. */
  strangers: number;
}

export interface Connections {
  /** Somebody who may be here: his connection is a stranger's no more. */
  letIn(socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): void;
}

const COMPLAINT_INTERVAL_MS = 60_000;
/** For last words to a client that has said its own. */
const LINGER_MS = 2_000;

/**
 * Bounds the connections of the node's port. Strangers have few places, and the newest of them takes the oldest's: whoever opens connections
 * only to hold them is soon rid of them, and keeps nobody else out. Cost per connection does not grow with their number.
 */
export function boundConnections(
  server: Server,
  limits: ConnectionLimits,
  { clock, log }: { clock: Clock; log: Logger },
): Connections {
  /** In the order of their coming, by the other end; the TLS socket that requests show is not the object that came. */
  const strangers = new Map<string, Socket>();
  const keyOf = ({ remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>) =>
    `${remoteAddress} ${remotePort}`;
  let complainedAtMs = Number.NEGATIVE_INFINITY;
  function complain(message: string): void {
    if (clock.monotonicMs() - complainedAtMs < COMPLAINT_INTERVAL_MS) return;
    complainedAtMs = clock.monotonicMs();
    log.warn(limits, message);
  }

  server.maxConnections = limits.all;
  server.on('drop', () => complain('the node API has as many connections as it takes; new ones are closed'));
  server.on('connection', (socket: Socket) => {
    const key = keyOf(socket);
    strangers.set(key, socket);
    socket.once('close', () => {
      if (strangers.get(key) === socket) strangers.delete(key);
    });
    if (strangers.size <= limits.strangers) return;
    const [oldest] = strangers;
    strangers.delete(oldest![0]);
    oldest![1].destroy();
    complain('many connect to the node API without being known here; the oldest of them are closed');
  });
  // After a reset Node may wait for ever for the end of a write (seen with TLS, Node 24): no client of ours sends a FIN and goes on reading.
  server.on('secureConnection', (socket: Duplex) => {
    socket.once('end', () => {
      const cancel = clock.after(LINGER_MS, () => socket.destroy());
      socket.once('close', cancel);
    });
  });
  return {
    letIn: (socket) => void strangers.delete(keyOf(socket)),
  };
}
