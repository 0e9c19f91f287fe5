import { STATUS_CODES } from 'node:http';
import { Agent, type Dispatcher, errors as undiciErrors } from 'undici';
import { type Clock, systemClock } from '../runtime/clock.ts';
import { Counter, Histogram, type Registry } from '../runtime/metrics.ts';
import { type ClientCertificate, type CredentialFiles, certificateSource, tokenSource } from './credentials.ts';
import { ApiError, statusFromText } from './errors.ts';
import { createReachability } from './reachability.ts';
import { explainRefusal, explainTrust, isUntrusted } from './trust-errors.ts';
import type { Status } from './types.ts';

export interface ClientConfig extends CredentialFiles {
  /** Base URL: https://host:port, with a path prefix if the server has one. */
  server: string;
  /** CA bundle that must have signed the server's certificate; the system's roots when absent. */
  caPem?: string;
  /** Name to verify in the server's certificate instead of the URL's host. */
  tlsServerName?: string;
  userAgent: string;
}

export interface ClientDependencies {
  clock?: Clock;
  /** Where rest_client_requests_total and rest_client_request_duration_seconds go; no metrics without one. */
  metrics?: Registry;
}

export interface RawOptions {
  method?: Dispatcher.HttpMethod;
  query?: Record<string, string | number | boolean | undefined>;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  signal?: AbortSignal;
  /** Given for streams, which then have a connection of their own: the longest silence between chunks, 0 = any. 60 000 unless said. */
  bodyTimeoutMs?: number;
}

const REQUEST_TIMEOUT_MS = 60_000;
const MAX_REQUEST_CONNECTIONS = 16;
/** A page of 500 objects has some megabytes; an answer without end must not fill the memory. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;
/** A refusal with Retry-After (429, and 5xx of a server that starts or stops) is repeated by the client itself, as client-go does. */
const MAX_RETRIES_AFTER = 5;
const LONGEST_RETRY_AFTER_S = 30;
/** All who were told the same time must not come back at the same moment. */
const RETRY_AFTER_SPREAD_S = 1;

export interface Transport {
  /** One request; any status code is a result. A read on a connection that broke is repeated once. */
  send(path: string, options?: RawOptions): Promise<Dispatcher.ResponseData>;
  /** One request whose answer is a JSON object; a refusal throws ApiError, one with Retry-After is repeated. */
  call(path: string, options: RawOptions): Promise<object>;
  /** Something of this answer, a stream, came. */
  heardStream(response: Dispatcher.ResponseData): void;
  /** Calls back when the server answers again after an outage. @returns takes that back */
  onReturn(listener: () => void): () => void;
  close(): Promise<void>;
}

/** Connections, credentials, time limits and counting of requests: everything below the Kubernetes verbs. */
export function createTransport(config: ClientConfig, dependencies: ClientDependencies): Transport {
  const clock = dependencies.clock ?? systemClock;
  const base = new URL(config.server);
  const prefix = base.pathname.replace(/\/$/, '');
  const options = ({ caPem, certPem, keyPem }: ClientCertificate) => ({
    // HTTP/1.1 on purpose: one connection a watch. undici's HTTP/2 multiplexing ends all streams with one bad one.
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    keepAliveMaxTimeout: 600_000,
    headersTimeout: REQUEST_TIMEOUT_MS,
    bodyTimeout: REQUEST_TIMEOUT_MS,
    connect: {
      timeout: 10_000,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      ...(caPem && { ca: caPem }),
      ...(certPem && { cert: certPem }),
      ...(keyPem && { key: keyPem }),
      ...(config.tlsServerName && { servername: config.tlsServerName }),
    },
  });
  // Requests queue for a few connections (a burst of 500 pods must not open 500); streams hold theirs and never wait.
  const connectAs = (certificate: ClientCertificate) => ({
    certificate,
    requests: new Agent({
      ...options(certificate),
      connections: MAX_REQUEST_CONNECTIONS,
      maxResponseSize: MAX_ANSWER_BYTES,
    }),
    streams: new Agent(options(certificate)),
  });
  const certificate = certificateSource(config, clock);
  let agents = connectAs(certificate());

  /** Connections of the certificate of this moment. With another one requests under way end in peace; watches begin anew, else they would outlive the old one. */
  function currentAgents() {
    const now = certificate();
    if (now === agents.certificate) return agents;
    const { requests, streams } = agents;
    agents = connectAs(now);
    void Promise.allSettled([requests.close(), streams.destroy()]);
    return agents;
  }

  let suspects: (typeof agents)[] = [];
  const reachability = createReachability<Agent>(clock, {
    onAway() {
      suspects.push(agents);
      agents = connectAs(agents.certificate);
    },
    onSilence() {
      const dead = [...suspects, agents];
      suspects = [];
      agents = connectAs(agents.certificate);
      const error = new undiciErrors.SocketError(`${base.origin} is silent: connections to it begin anew`);
      for (const { requests, streams } of dead)
        void Promise.allSettled([requests.destroy(error), streams.destroy(error)]);
    },
    onReturn(wasHeard) {
      const error = new undiciErrors.SocketError(`${base.origin} was away: what was quiet meanwhile begins anew`);
      const settle = (agent: Agent) => void (wasHeard(agent) ? agent.close() : agent.destroy(error)).catch(() => {});
      for (const { requests, streams } of suspects) for (const agent of [requests, streams]) settle(agent);
      suspects = [];
      if (wasHeard(agents.streams)) return;
      // Streams that knock at a door of before.
      const { streams } = agents;
      agents = { ...agents, streams: new Agent(options(agents.certificate)) };
      settle(streams);
    },
  });
  /** Which connections an answer comes over. */
  const overWhich = new WeakMap<Dispatcher.ResponseData, Agent>();

  const measure = requestMeasures(base.host, dependencies.metrics);
  const commonHeaders = { accept: 'application/json', 'user-agent': config.userAgent };
  const token = tokenSource(config, clock);

  async function send(path: string, options: RawOptions = {}): Promise<Dispatcher.ResponseData> {
    const method = options.method ?? 'GET';
    for (let failedBefore = false; ; failedBefore = true) {
      const startedMs = clock.monotonicMs();
      try {
        const { requests, streams } = currentAgents();
        const agent = options.bodyTimeoutMs === undefined ? requests : streams;
        const asked = agent.request({
          origin: base.origin,
          path: prefix + path,
          method,
          query: definedOnly(options.query),
          headers: { ...commonHeaders, ...authorization(token()), ...options.headers },
          body: options.body ?? null,
          signal: options.signal ?? null,
          ...(options.bodyTimeoutMs !== undefined && { bodyTimeout: options.bodyTimeoutMs }),
        });
        const response = await unlessAborted(asked, options.signal);
        overWhich.set(response, agent);
        reachability.heard(agent);
        measure(response.statusCode, method, clock.monotonicMs() - startedMs);
        return response;
      } catch (error) {
        measure('<error>', method, clock.monotonicMs() - startedMs);
        // A kept connection that the server closed in the same moment: reading again is harmless, writing is not.
        if (!failedBefore && method === 'GET' && isBrokenConnection(error)) continue;
        // Who takes back a question at once has learnt nothing of the server.
        if (!options.signal?.aborted || clock.monotonicMs() - startedMs > 1000) reachability.failed(startedMs);
        if (isUntrusted(error)) certificate.refresh();
        throw explainTrust(error, base.origin);
      }
    }
  }

  async function call(path: string, options: RawOptions): Promise<object> {
    const what = `${options.method ?? 'GET'} ${path}`;
    for (let attempt = 0; ; attempt++) {
      const response = await send(path, options);
      const text = await response.body.text();
      if (response.statusCode < 300) return parseBody(text, what);
      const afterSeconds = retryAfterSeconds(response, clock);
      if (afterSeconds === undefined || attempt >= MAX_RETRIES_AFTER)
        throw explainRefusal(new ApiError(parseStatus(response.statusCode, text, what)), base.origin);
      const spreadSeconds = afterSeconds === 0 ? 0 : RETRY_AFTER_SPREAD_S * Math.random();
      await clock.sleep((Math.min(afterSeconds, LONGEST_RETRY_AFTER_S) + spreadSeconds) * 1000, options.signal);
    }
  }

  return {
    send,
    call,
    heardStream(response) {
      const agent = overWhich.get(response);
      if (agent) reachability.heard(agent);
    },
    onReturn: reachability.onReturn,
    close: async () => {
      await Promise.all(
        [...suspects, agents].flatMap(({ requests, streams }) => [requests.destroy(), streams.destroy()]),
      );
    },
  };
}

/** undici notices an abort only once it has a connection: who waits for one that is being made would wait on. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function authorization(token: string | undefined): { authorization?: string } {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** client-go's metrics of requests; a registry's clients share them. A stream's duration ends with its headers. */
function requestMeasures(host: string, registry: Registry | undefined) {
  if (!registry) return () => {};
  const existing = <M>(metric: string) => registry.getSingleMetric(metric) as M | undefined;
  const registers = [registry];
  const total =
    existing<Counter<'code' | 'host' | 'method'>>('rest_client_requests_total') ??
    new Counter({
      name: 'rest_client_requests_total',
      help: 'Number of HTTP requests, partitioned by status code, method, and host.',
      labelNames: ['code', 'host', 'method'] as const,
      registers,
    });
  const duration =
    existing<Histogram<'host' | 'verb'>>('rest_client_request_duration_seconds') ??
    new Histogram({
      name: 'rest_client_request_duration_seconds',
      help: 'Request latency in seconds. Broken down by verb, and host.',
      labelNames: ['host', 'verb'] as const,
      buckets: [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60],
      registers,
    });
  return (code: number | string, method: string, durationMs: number) => {
    total.inc({ code: String(code), host, method });
    duration.observe({ host, verb: method }, durationMs / 1000);
  };
}

function definedOnly(query: RawOptions['query']): Record<string, string> {
  const entries = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== '');
  return Object.fromEntries(entries.map(([key, value]) => [key, String(value)]));
}

/** Of an answer that asks for patience: seconds, or a date (proxies); undefined: it does not. */
export function retryAfterSeconds(
  { statusCode, headers }: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers'>,
  clock: Pick<Clock, 'nowMs'>,
): number | undefined {
  const text = headers['retry-after'];
  if ((statusCode !== 429 && statusCode < 500) || typeof text !== 'string') return undefined;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - clock.nowMs()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}

function parseBody(text: string, what: string): object {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (cause) {
    throw new Error(`${what}: the server's answer is not JSON: ${text.slice(0, 100)}`, { cause });
  }
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body;
  throw new Error(`${what}: the server's answer is no object: ${text.slice(0, 100)}`);
}

/** The Status in a refusal's body; one of our own making when something between us and the API server answered. */
export function parseStatus(code: number, text: string, what: string): Status {
  try {
    const status = JSON.parse(text) as Status;
    if (status?.kind === 'Status') return { ...status, code: status.code ?? code };
  } catch {
    // Not JSON: something between us and the API server answered.
  }
  return statusFromText(code, text || (STATUS_CODES[code] ?? ''), what);
}

function isBrokenConnection(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  return error instanceof undiciErrors.SocketError || code === 'ECONNRESET' || code === 'EPIPE';
}
