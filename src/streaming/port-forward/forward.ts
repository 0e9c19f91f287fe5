import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** Opens a connection to a port of what is forwarded to; throws an Error whose message a person will read. */
export type ConnectPort = (port: number, signal: AbortSignal) => Promise<Duplex>;

/** Joins a client's stream with a connection to the port, until both directions have ended; throws when there is no connection. */
export async function forward(client: Duplex, port: number, connect: ConnectPort): Promise<void> {
  const gone = new AbortController();
  client.once('close', () => gone.abort());
  const connection = await connect(port, gone.signal);
  if (gone.signal.aborted) {
    connection.destroy();
    return;
  }
  // Each end of a direction is passed on by itself: a request may end long before its answer does.
  const ways = await Promise.allSettled([pipeline(client, connection), pipeline(connection, client)]);
  connection.destroy();
  client.destroy();
  for (const way of ways) if (way.status === 'rejected' && !isEnd(way.reason)) throw way.reason;
}

/** One side hung up in the middle: that is how connections end. */
function isEnd(error: NodeJS.ErrnoException): boolean {
  return ['ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET', 'EPIPE', 'ABORT_ERR', 'ERR_STREAM_DESTROYED'].includes(
    error.code ?? '',
  );
}

/** `8080` → 8080; undefined for what is no port. */
export function parsePort(text: string | undefined): number | undefined {
  if (!text || !/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65_535 ? port : undefined;
}
