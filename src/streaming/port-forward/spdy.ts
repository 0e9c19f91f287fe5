import type { Duplex } from 'node:stream';
import { createSpdyConnection } from '../spdy/connection.ts';
import type { SpdyStream } from '../spdy/stream.ts';
import { listHeader, refuseUpgrade, switchProtocols, type UpgradeRequest } from '../upgrade.ts';
import { type ConnectPort, forward, parsePort } from './forward.ts';

export const PORT_FORWARD_PROTOCOL = 'portforward.k8s.io';
/** For the second stream of a pair to come. */
const PAIR_TIMEOUT_MS = 30_000;

export interface PortForwardOptions {
  connect: ConnectPort;
  idleTimeoutMs: number;
}

/** Accepts port-forward over SPDY/3.1 and serves until the client leaves. */
export async function servePortForwardOverSpdy(
  { request, socket, head }: UpgradeRequest,
  options: PortForwardOptions,
): Promise<void> {
  const offered = listHeader(request, 'x-stream-protocol-version');
  if (offered.length > 0 && !offered.includes(PORT_FORWARD_PROTOCOL)) {
    refuseUpgrade(
      socket,
      403,
      'Forbidden',
      `unable to upgrade: none of the stream protocols ${offered.join(', ')} is supported\n`,
      {
        'X-Accepted-Stream-Protocol-Versions': PORT_FORWARD_PROTOCOL,
      },
    );
    return;
  }
  switchProtocols(socket, { Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': PORT_FORWARD_PROTOCOL });
  await forwardPairs(socket, options, head);
}

interface Pair {
  data?: SpdyStream;
  error?: SpdyStream;
  timer: NodeJS.Timeout;
}

/**
 * Each connection that kubectl accepts comes as two streams with the same `requestID`: `error`, on which we say what went wrong, and
 * `data`. Clients without request ids open them one after the other, the error stream first.
 */
export async function forwardPairs(
  socket: Duplex,
  { connect, idleTimeoutMs }: PortForwardOptions,
  head?: Buffer,
): Promise<void> {
  const pairs = new Map<string, Pair>();

  function onStream(stream: SpdyStream): void {
    const { streamtype: type = '', port: portText, requestid } = stream.headers;
    const port = parsePort(portText);
    if ((type !== 'data' && type !== 'error') || port === undefined) {
      stream.destroy();
      return;
    }
    const key = requestid ?? String(type === 'error' ? stream.id : stream.id - 2);
    const pair = pairs.get(key) ?? { timer: setTimeout(() => giveUp(key), PAIR_TIMEOUT_MS) };
    if (pair[type]) {
      stream.destroy();
      return;
    }
    pair[type] = stream;
    pairs.set(key, pair);
    // Half a pair whose stream is reset again waits for nobody: a client that does so all day must not fill the memory.
    stream.once('close', () => pairs.get(key) === pair && giveUp(key));
    const { data, error } = pair;
    if (!data || !error) return;
    clearTimeout(pair.timer);
    pairs.delete(key);
    forward(data, port, connect).then(
      () => error.end(),
      (problem: Error) => {
        error.end(`an error occurred forwarding port ${port}: ${problem.message}`);
        data.end();
        data.resume();
      },
    );
  }

  function giveUp(key: string): void {
    const pair = pairs.get(key);
    clearTimeout(pair?.timer);
    pairs.delete(key);
    for (const stream of [pair?.data, pair?.error]) stream?.destroy();
  }

  const connection = createSpdyConnection(socket, { role: 'server', onStream, idleTimeoutMs }, head);
  await connection.closed;
  for (const { timer } of pairs.values()) clearTimeout(timer);
}
