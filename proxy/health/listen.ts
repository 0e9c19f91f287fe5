import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ExplainedError } from '../../src/runtime/explained-error.ts';

export interface HttpListener {
  /** Where it answers: the real port where 0 was asked for. */
  readonly address: AddressInfo;
  close(): Promise<void>;
}

/** Idle health checkers must not hold connections for ever, nor slow ones a server. */
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Serves HTTP at `IP:port` (`[IPv6]:port`; `:port` is every address of the host).
 * @throws Error that names the address, what is wrong with it, and the field that moves it.
 */
export async function listenHttp(address: string, field: string, handler: RequestListener): Promise<HttpListener> {
  const [, host, port] = /^\[?([^\]]*?)\]?:(\d+)$/.exec(address) ?? [];
  const server: Server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, handler);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(explain(error, address, field)));
    server.listen({ host: host || undefined, port: Number(port) }, resolve);
  });
  return {
    address: server.address() as AddressInfo,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function explain(error: NodeJS.ErrnoException, address: string, field: string): Error {
  const why =
    error.code === 'EADDRINUSE'
      ? 'another program listens there'
      : error.code === 'EADDRNOTAVAIL'
        ? 'this host has no such address'
        : error.message;
  return new ExplainedError(`cannot listen on ${address}: ${why}; free it, or set ${field} to another address`, {
    cause: error,
  });
}
