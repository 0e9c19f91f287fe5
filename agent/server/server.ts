import { createServer as createHttpServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createHttpsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { opensslCiphers } from '../../src/auth/tls-suites.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import { createHealthMetrics } from '../../src/runtime/health-metrics.ts';
import { upgradeKind } from '../../src/streaming/upgrade.ts';
import { type AgentAppDeps, createAgentApp } from './app.ts';
import { reportHealth } from './healthz.ts';
import { createStreamHandler, STREAMS, type StreamDeps } from './streams.ts';

export interface AgentServerOptions {
  /** KubeletConfiguration: address, port. */
  address: string;
  port: number;
  /** The node's serving certificate. */
  certPem: string;
  keyPem: string;
  /** Who signs the clients' certificates. */
  clientCaPem: string;
  /** Go's names; all strong ones unless some are named. */
  cipherSuites?: readonly string[];
  minVersion?: 'TLSv1.2' | 'TLSv1.3';
  healthzBindAddress: string;
  /** 0 in the configuration means no healthz server: then undefined. */
  healthzPort?: number;
}

export interface AgentServer {
  /** Opens both ports. Throws an Error that names the port that is taken; then neither is open. */
  listen(): Promise<{ port: number; healthzPort: number | undefined }>;
  /** Serves new connections with this certificate. */
  useCertificate(pair: CertificatePair): void;
  close(): Promise<void>;
  /** Listens (unless it does), serves until the signal aborts, closes. */
  run(signal: AbortSignal): Promise<void>;
}

/** The node's HTTPS API (10250) and its plain health check for the local machine (10248). */
export function createAgentServer(
  options: AgentServerOptions,
  dependencies: Omit<AgentAppDeps, 'slis'> & StreamDeps,
): AgentServer {
  const deps = { ...dependencies, slis: createHealthMetrics() };
  const secureContext = ({ certPem, keyPem }: CertificatePair) => ({
    cert: certPem,
    key: keyPem,
    ca: options.clientCaPem,
    minVersion: options.minVersion ?? ('TLSv1.2' as const),
    ciphers: opensslCiphers(options.cipherSuites ?? []),
    honorCipherOrder: true,
  });
  const https = createHttpsServer(
    {
      ...secureContext(options),
      requestCert: true,
      // The handshake succeeds without a certificate, so that the answer can be a 401 that says so.
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      // Everything else that asks for another protocol is answered as if it had not.
      shouldUpgradeCallback: (request: IncomingMessage) =>
        deps.debuggingHandlers &&
        STREAMS.includes(request.url?.split('/')[1] ?? '') &&
        upgradeKind(request) !== undefined,
    } as ServerOptions,
    createAgentApp(deps),
  );
  const healthz = createHttpServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://node');
    const known = url.pathname === '/healthz' || url.pathname.startsWith('/healthz/');
    const report = known ? reportHealth(deps, url.searchParams.has('verbose')) : undefined;
    response.writeHead(report ? (report.healthy ? 200 : 500) : 404, { 'content-type': 'text/plain; charset=utf-8' });
    response.end(report ? report.text : '404 page not found\n');
  });
  const streams = new Set<Duplex>();
  const serveStream = createStreamHandler(deps);
  https.on('upgrade', (request, socket, head) => {
    streams.add(socket);
    socket.once('close', () => streams.delete(socket));
    void serveStream({ request, socket, head });
  });
  // Followed logs live as long as their containers.
  https.requestTimeout = 0;
  https.setTimeout(0);
  let listening: { port: number; healthzPort: number | undefined } | undefined;

  async function close() {
    listening = undefined;
    // The server no longer knows connections that have changed their protocol.
    for (const socket of streams) socket.destroy();
    await Promise.all([https, healthz].map(closeServer));
  }

  const server: AgentServer = {
    async listen() {
      try {
        const port = await open(https, options.address, options.port, 'node API (port)');
        const healthzPort =
          options.healthzPort === undefined
            ? undefined
            : await open(healthz, options.healthzBindAddress, options.healthzPort, 'node health check (healthzPort)');
        listening = { port, healthzPort };
        return listening;
      } catch (error) {
        await close();
        throw error;
      }
    },
    useCertificate: (pair) => https.setSecureContext(secureContext(pair)),
    close,
    async run(signal) {
      if (!listening) await server.listen();
      if (!signal.aborted)
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await close();
    },
  };
  return server;
}

function open(server: Server, address: string, port: number, what: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE'
          ? 'another process listens there (a kubelet or another agent?): stop it, or configure another port'
          : error.message;
      reject(new ExplainedError(`the ${what} cannot listen on ${address}:${port}: ${why}`, { cause: error }));
    };
    server.once('error', refuse);
    server.listen(port, address, () => {
      server.off('error', refuse);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function closeServer(server: Server): Promise<void> {
  if (!server.listening) return Promise.resolve();
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
