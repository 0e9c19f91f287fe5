import { constants } from 'node:crypto';
import { type IncomingMessage, ServerResponse } from 'node:http';
import { createSecureServer, type Http2SecureServer, type Http2Session } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TokenAuthenticator } from '../../src/auth/token-authenticator.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import { createHealthMetrics } from '../../src/runtime/health-metrics.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry as MetricsRegistry } from '../../src/runtime/metrics.ts';
import { answerClientErrors } from '../../src/streaming/client-errors.ts';
import type { IssuerDiscovery } from '../service-accounts/issuer-discovery.ts';
import type { Store } from '../store/store.ts';
import { createAuthenticator } from './authentication.ts';
import type { Authorizer } from './authorization.ts';
import type { SchemaPort } from './body.ts';
import type { ResourceDefinition } from './definition.ts';
import { createDiscovery } from './discovery.ts';
import { createHandler, type VersionInfo } from './handler.ts';
import type { HealthCheck } from './health.ts';
import { createInFlight } from './in-flight.ts';
import type { OpenApiSource } from './openapi.ts';
import { createRegistry } from './registry.ts';
import { createApi } from './rest/api.ts';
import { createServerMetrics } from './server-metrics.ts';

export interface ApiServerOptions {
  /** Address to listen on, e.g. 0.0.0.0. */
  readonly bindAddress: string;
  /** 0: any free one. */
  readonly port: number;
  /** `host:port` under which clients reach it, for discovery; the listening address unless said. */
  readonly advertisedAddress?: string;
  readonly certPem: string;
  readonly keyPem: string;
  /** Client certificates of this authority are users. */
  readonly clientCaPem: string;
  readonly version: VersionInfo;
  /** Requests in work at once, streams aside; 400 and 200 unless said. */
  readonly maxReadOnlyInFlight?: number;
  readonly maxMutatingInFlight?: number;
  /** For the body of a request to arrive; 60 s unless said. */
  readonly requestTimeoutMs?: number;
}

export interface ApiServerDeps {
  readonly store: Store;
  /** In discovery order: it decides how short names are resolved. */
  readonly definitions: readonly ResourceDefinition[];
  readonly authorizer: Authorizer;
  readonly tokens?: readonly TokenAuthenticator[];
  /** Publishes the key of service account tokens; absent: there are none. */
  readonly issuer?: IssuerDiscovery;
  readonly schema: SchemaPort;
  readonly openApi: OpenApiSource;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricsRegistry;
  /** Beside `ping`, `store` and `shutdown`, which are always there. */
  readonly healthChecks?: readonly HealthCheck[];
}

export interface ApiServer {
  /** Listens; resolves when requests are answered. Throws an Error that names the address and the way out. */
  start(): Promise<{ readonly host: string; readonly port: number }>;
  /** Serves new connections with this certificate; throws for one that cannot be served with, and goes on as before. */
  useCertificate(pair: Pick<ApiServerOptions, 'certPem' | 'keyPem'>): void;
  /** Serves until the signal aborts (starts before when `start` was not called), then ends watches and connections. */
  run(signal: AbortSignal): Promise<void>;
}

/** How long running requests may take to finish once the server stops. */
const DRAIN_MS = 2_000;

/**
 * The API server: HTTP/2 and HTTP/1.1 over TLS on one port, client certificates and bearer tokens, and the generic REST
 * layer over the given definitions. Cost per request does not grow with the number of objects, but for lists.
 */
export function createApiServer(options: ApiServerOptions, deps: ApiServerDeps): ApiServer {
  const stopping = new AbortController();
  const { clock, log } = deps;
  const registry = createRegistry(deps.definitions);
  const inFlight = createInFlight({
    readOnly: options.maxReadOnlyInFlight ?? 400,
    mutating: options.maxMutatingInFlight ?? 200,
  });
  const requestTimeoutMs = options.requestTimeoutMs ?? 60_000;
  let listening: { host: string; port: number } | undefined;
  const server = createListener(options);
  const connections = trackConnections(server);
  answerClientErrors(server, clock);
  const handle = createHandler({
    api: createApi(registry, { store: deps.store, schema: deps.schema, clock, log, requestTimeoutMs }),
    authenticator: createAuthenticator(deps.tokens ?? [], log),
    authorizer: deps.authorizer,
    discovery: createDiscovery(registry, () => options.advertisedAddress ?? `${listening?.host}:${listening?.port}`),
    openApi: deps.openApi,
    ...(deps.issuer && { issuer: deps.issuer }),
    inFlight,
    metrics: createServerMetrics(deps.metrics, inFlight, registry),
    registry: deps.metrics,
    slis: createHealthMetrics(),
    checks: [
      { name: 'ping', check: () => undefined },
      { name: 'store', check: () => storeProblem(deps.store) },
      { name: 'shutdown', check: () => (stopping.signal.aborted ? 'the server is stopping' : undefined) },
      ...(deps.healthChecks ?? []),
    ],
    version: options.version,
    log,
    stopping: stopping.signal,
  });
  server.on('request', handle);
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // For a refusal; whoever takes the connection over detaches it.
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    socket.on('error', () => {});
    response.once('finish', () => socket.end());
    handle(request, response, { socket, head });
  });

  async function start() {
    if (listening) return listening;
    const address = await listen(server, options);
    listening = { host: address.address, port: address.port };
    log.info({ address: `${listening.host}:${listening.port}` }, 'API server listens');
    return listening;
  }

  async function stop() {
    stopping.abort();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    connections.close();
    // A timer that can be taken back: what is left of a sleep would keep the ended process alive.
    const endDrain = clock.after(DRAIN_MS, () => connections.destroy());
    await closed;
    endDrain();
  }

  return {
    start,
    useCertificate: (pair) => server.setSecureContext(secureContext({ ...options, ...pair })),
    async run(signal) {
      await start();
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
      await stop();
    },
  };
}

/** Any read will do; a store that is closed or broken throws. */
async function storeProblem(store: Store): Promise<string | undefined> {
  try {
    await store.get({ resource: 'namespaces', namespace: '', name: 'default' });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function createListener(options: ApiServerOptions): Http2SecureServer {
  return createSecureServer({
    allowHTTP1: true,
    ...HTTP1,
    ...secureContext(options),
    requestCert: true,
    // A connection without a certificate may bring a token, or read /healthz.
    rejectUnauthorized: false,
    // Watchers that vanished without a word are noticed.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    settings: { maxConcurrentStreams: 1_000, initialWindowSize: 256 * 1024 },
    // Megabytes; large lists to many watchers of one connection wait here.
    maxSessionMemory: 256,
  });
}

function secureContext({ certPem, keyPem, clientCaPem }: ApiServerOptions) {
  return {
    cert: certPem,
    key: keyPem,
    ca: clientCaPem,
    minVersion: 'TLSv1.2',
    // A resumed session would not show its certificate again.
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const;
}

/**
 * Options of Node's HTTP/1.1 part, which its types don't know here. Go's servers keep idle connections for 90 s too; with
 * Node's 5 s most writes of controllers, which come seconds apart, would pay a TLS handshake of several milliseconds.
 */
const HTTP1 = {
  keepAliveTimeout: 90_000,
  /** As on nodes: the command of an exec stands in its URL. */
  maxHeaderSize: 256 * 1024,
};

function listen(server: Http2SecureServer, options: ApiServerOptions): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException) => {
      const wayOut =
        error.code === 'EADDRINUSE'
          ? 'the port is in use by another process; stop it or choose another port'
          : error.code === 'EACCES'
            ? 'ports below 1024 need root'
            : 'check the bind address';
      reject(
        new ExplainedError(
          `the API server cannot listen on ${options.bindAddress}:${options.port}: ${error.message} (${wayOut})`,
          {
            cause: error,
          },
        ),
      );
    };
    server.once('error', refuse);
    server.listen(options.port, options.bindAddress, () => {
      server.off('error', refuse);
      resolve(server.address() as AddressInfo);
    });
  });
}

/** HTTP/2 keeps connections open for ever: to stop, they must be known. */
function trackConnections(server: Http2SecureServer) {
  const sockets = new Set<Socket>();
  const sessions = new Set<Http2Session>();
  server.on('connection', (socket: Socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  // Port scanners and broken clients; nothing to tell anybody.
  server.on('tlsClientError', () => {});
  server.on('sessionError', () => {});
  return {
    /** Lets what is under way finish. */
    close() {
      for (const session of sessions) session.close();
    },
    destroy() {
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
    },
  };
}
