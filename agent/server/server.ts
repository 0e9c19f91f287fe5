import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { createServer as createHttpsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { opensslCiphers } from '../../src/auth/tls-suites.ts';
import type { UserInfo } from '../../src/auth/user.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import { createHealthMetrics } from '../../src/runtime/health-metrics.ts';
import { answerClientErrors } from '../../src/streaming/client-errors.ts';
import { refuseUpgrade, upgradeKind } from '../../src/streaming/upgrade.ts';
import { type AgentAppDeps, createAgentApp } from './app.ts';
import { boundConnections } from './connections.ts';
import { reportHealth } from './healthz.ts';
import { createInFlight, type RequestKind } from './in-flight.ts';
import { vouchFor } from './insiders.ts';
import { closeAfterBody, MAX_HEADER_BYTES, MAX_HEADERS_READ, refuseMalformed } from './request-edge.ts';
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
  /** Others than usual, for tests. */
  limits?: Partial<ServerLimits>;
  places?: Partial<Record<RequestKind, number>>;
}

export interface AgentServer {
  /** Opens both ports. Throws an Error that names the port that is taken; then neither is open. */
  listen(): Promise<{ port: number; healthzPort: number | undefined }>;
  /** Serves a connection that this process has made to itself, as this user: HTTP without TLS. */
  serve(connection: Duplex, user: UserInfo): void;
  /** Serves new connections with this certificate. */
  useCertificate(pair: CertificatePair): void;
  /** Knows the clients of new connections by this authority. */
  useClientCa(clientCaPem: string): void;
  close(): Promise<void>;
  /** Listens (unless it does), serves until the signal aborts, closes. */
  run(signal: AbortSignal): Promise<void>;
}

/** What strangers may cost; who is let in has all the time that its answer takes. */
const LIMITS = {
  handshakeMs: 10_000,
  /** Until the headers are there, and the body. */
  headersMs: 10_000,
  requestMs: 30_000,
  lookMs: 2_000,
  /** Between requests, as upstream: scrapers come every half a minute. */
  idleMs: 90_000,
  /** A peer that vanished without a word (power, cable) is noticed 10 s after this silence. */
  keepAliveMs: 30_000,
  connections: { all: 2_000, strangers: 200 },
  healthzConnections: 100,
};
type ServerLimits = typeof LIMITS;
const OVERLOADED = { status: 429, text: 'Too many requests, please try again later.\n' } as const;

/** The node's HTTPS API (10250) and its plain health check for the local machine (10248). */
export function createAgentServer(
  options: AgentServerOptions,
  dependencies: Omit<AgentAppDeps, 'slis' | 'inFlight'> & Omit<StreamDeps, 'inFlight'>,
): AgentServer {
  const limits = { ...LIMITS, ...options.limits };
  const inFlight = createInFlight(options.places);
  const deps: AgentAppDeps & StreamDeps = {
    ...dependencies,
    slis: createHealthMetrics(),
    inFlight,
    async refuseAccess(request, path) {
      const release = inFlight.enter('unknown');
      if (!release) return OVERLOADED;
      try {
        const refusal = await dependencies.refuseAccess(request, path);
        if (!refusal) connections.letIn(request.socket);
        return refusal;
      } finally {
        release();
      }
    },
  };
  let tls = { certPem: options.certPem, keyPem: options.keyPem, clientCaPem: options.clientCaPem };
  const secureContext = () => ({
    cert: tls.certPem,
    key: tls.keyPem,
    ca: tls.clientCaPem,
    minVersion: options.minVersion ?? ('TLSv1.2' as const),
    ciphers: opensslCiphers(options.cipherSuites ?? []),
    honorCipherOrder: true,
  });
  // Everything else that asks for another protocol is answered as if it had not.
  const shouldUpgradeCallback = (request: IncomingMessage) =>
    deps.debuggingHandlers && STREAMS.includes(request.url?.split('/')[1] ?? '') && upgradeKind(request) !== undefined;
  const app = createAgentApp(deps);
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    closeAfterBody(request, response);
    const refusal = refuseMalformed(request);
    if (!refusal) return void app(request, response);
    response.shouldKeepAlive = false;
    response.writeHead(refusal.status, { 'content-type': 'text/plain; charset=utf-8' }).end(refusal.text);
  };
  const https = createHttpsServer(
    {
      ...secureContext(),
      handshakeTimeout: limits.handshakeMs,
      // These two end with the request, however long its answer lives.
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      connectionsCheckingInterval: limits.lookMs,
      keepAliveTimeout: limits.idleMs,
      keepAlive: true,
      keepAliveInitialDelay: limits.keepAliveMs,
      maxHeaderSize: MAX_HEADER_BYTES,
      requestCert: true,
      // The handshake succeeds without a certificate, so that the answer can be a 401 that says so.
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      shouldUpgradeCallback,
    } as ServerOptions,
    serve,
  );
  https.maxHeadersCount = MAX_HEADERS_READ;
  answerClientErrors(https, deps.clock);
  const connections = boundConnections(https, limits.connections, deps);
  const inside = createHttpServer({ shouldUpgradeCallback, maxHeaderSize: MAX_HEADER_BYTES } as ServerOptions, serve);
  const healthz = createHttpServer({ headersTimeout: limits.headersMs }, (request, response) => {
    const url = new URL(request.url ?? '/', 'http://node');
    const known = url.pathname === '/healthz' || url.pathname.startsWith('/healthz/');
    const report = known ? reportHealth(deps, url.searchParams.has('verbose')) : undefined;
    response.writeHead(report ? (report.healthy ? 200 : 500) : 404, { 'content-type': 'text/plain; charset=utf-8' });
    response.end(report ? report.text : '404 page not found\n');
  });
  healthz.maxConnections = limits.healthzConnections;
  const streams = new Set<Duplex>();
  const serveStream = createStreamHandler(deps);
  const remember = (socket: Duplex) => {
    streams.add(socket);
    socket.once('close', () => streams.delete(socket));
  };
  for (const server of [https, inside])
    server.on('upgrade', (request, socket, head) => {
      remember(socket);
      const refusal = refuseMalformed(request);
      if (refusal) refuseUpgrade(socket, refusal.status, STATUS_CODES[refusal.status] ?? '', refusal.text);
      else void serveStream({ request, socket, head });
    });
  https.on('connect', (_, socket) => refuseUpgrade(socket, 405, 'Method Not Allowed', 'this is no proxy\n'));
  let listening: { port: number; healthzPort: number | undefined } | undefined;

  function useTls(change: Partial<typeof tls>): void {
    const before = tls;
    tls = { ...tls, ...change };
    try {
      https.setSecureContext(secureContext());
    } catch (error) {
      // What cannot be served with must not stand in the way of the next change.
      tls = before;
      throw error;
    }
  }

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
    serve(connection, user) {
      vouchFor(connection, user);
      remember(connection);
      inside.emit('connection', connection);
    },
    useCertificate: ({ certPem, keyPem }) => useTls({ certPem, keyPem }),
    useClientCa: (clientCaPem) => useTls({ clientCaPem }),
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
