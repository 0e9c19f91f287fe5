import { Agent } from 'node:http';
import type { Readable } from 'node:stream';
import { inspect } from 'node:util';
import Docker from 'dockerode';
import { DockerError, kindOfStatus } from './errors.ts';

export interface EngineRequest {
  /** What we were doing, for the error message. */
  operation: string;
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  query?: Record<string, string | number | boolean | undefined>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** Until the whole answer, of a stream until its head; the transport's unless said; Infinity for calls that wait on a container. */
  timeoutMs?: number;
}

export interface EngineTransport {
  /** The parsed JSON answer; undefined when there is none (204, 304). */
  json<T>(request: EngineRequest): Promise<T>;
  stream(request: EngineRequest): Promise<Readable>;
  /** The one in use: the oldest that both sides speak, since that is the one we know best. */
  apiVersion(): string;
  close(): void;
}

const SUCCESS_CODES = { 101: true, 200: true, 201: true, 204: true, 304: true };
/** `runtimeRequestTimeout` unless configured. */
const REQUEST_TIMEOUT_MS = 120_000;

/** dockerode's modem (which is untyped), the part that we use. */
interface Modem {
  dial(
    options: object,
    callback: (error: (Error & { statusCode?: number; json?: unknown }) | null, data: unknown) => void,
  ): void;
}

/**
 * The modem renders the options of every call with util.inspect for a debug line that nobody reads, agent and all its
 * sockets included, which took more CPU than all the rest of the agent: this one has nothing to show.
 */
class TerseAgent extends Agent {
  [inspect.custom](): string {
    return 'Agent';
  }
}

/**
 * HTTP to the Engine through dockerode, over one keep-alive agent.
 * @param endpoint `unix:///run/docker.sock` or `tcp://127.0.0.1:2375`
 */
export function createTransport(
  endpoint: string,
  oldestApiVersion: string,
  requestTimeoutMs = REQUEST_TIMEOUT_MS,
): EngineTransport {
  const agent = new TerseAgent({ keepAlive: true, scheduling: 'lifo' });
  let apiVersion = oldestApiVersion;
  let modem = connect();

  function connect(): Modem {
    const options = { ...parseEndpoint(endpoint), version: `v${apiVersion}`, agent };
    const docker = new Docker(options);
    return docker.modem as Modem;
  }

  /** An Engine that no longer speaks our version names its oldest; also one that was upgraded while we run. */
  function adopt(error: EngineFailure): boolean {
    const oldest = oldestAccepted(error);
    if (oldest === undefined || oldest === apiVersion) return false;
    apiVersion = oldest;
    modem = connect();
    return true;
  }

  /** Resolves to the answer with its head read; a stream in any case, since the modem waits for ever for the rest of a torn answer. */
  function dial(request: EngineRequest, signal: AbortSignal | undefined): Promise<Readable> {
    const query = Object.entries(request.query ?? {}).filter(([, value]) => value !== undefined);
    const options = {
      path: `${request.path}?`,
      method: request.method,
      // The modem sends what stands under _query and _body; without them it would put the body into the URL as well.
      options: { _query: Object.fromEntries(query), _body: request.body ?? {} },
      headers: { ...request.headers },
      abortSignal: signal,
      isStream: true,
      statusCodes: SUCCESS_CODES,
    };
    return new Promise((resolve, reject) => {
      modem.dial(options, (error, data) => {
        if (!error) resolve(data as Readable);
        else if (adopt(error)) dial(request, signal).then(resolve, reject);
        else reject(error);
      });
    });
  }

  /** Makes a call, but does not wait for ever: one without an answer is given up, however alive its connection is. */
  async function inTime<T>(request: EngineRequest, call: (signal?: AbortSignal) => Promise<T>): Promise<T> {
    const timeoutMs = request.timeoutMs ?? requestTimeoutMs;
    request.signal?.throwIfAborted();
    // By hand: AbortSignal.timeout would keep its timer for two minutes after each call of a few milliseconds.
    const end = new AbortController();
    let isLate = false;
    const onTime = () => {
      isLate = true;
      end.abort();
    };
    const timer = Number.isFinite(timeoutMs) ? setTimeout(onTime, timeoutMs) : undefined;
    const abort = () => end.abort();
    request.signal?.addEventListener('abort', abort, { once: true });
    try {
      return await call(end.signal);
    } catch (error) {
      request.signal?.throwIfAborted();
      if (!isLate) throw toDockerError(request, endpoint, error as EngineFailure);
      const message = `DeadlineExceeded: Docker Engine at ${endpoint} gave no answer within ${timeoutMs / 1000} s`;
      throw new DockerError(request.operation, 'timeout', message, undefined, error);
    } finally {
      clearTimeout(timer);
      request.signal?.removeEventListener('abort', abort);
    }
  }

  return {
    json: <T>(request: EngineRequest) =>
      inTime(request, async (signal) => parseBody(await readWhole(await dial(request, signal), signal)) as T),
    stream: (request) => inTime(request, (signal) => dial(request, signal)),
    apiVersion: () => apiVersion,
    close: () => agent.destroy(),
  };
}

/** `client version 1.41 is too old. Minimum supported API version is 1.44, …` → `1.44`. */
function oldestAccepted({ message, json }: EngineFailure): string | undefined {
  const text = `${message} ${(json as { message?: unknown } | null | undefined)?.message ?? ''}`;
  return /client version \S+ is too old\. Minimum supported API version is (\d+\.\d+)/.exec(text)?.[1];
}

type EngineFailure = Error & { statusCode?: number; json?: unknown };

/** All of a body; throws when it is torn or the signal aborts. */
async function readWhole(body: Readable, signal: AbortSignal | undefined): Promise<string> {
  const abort = () => body.destroy(new Error('aborted'));
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** undefined for no body, and for one that is not JSON (the Engine says "OK" to some calls). */
function parseBody(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toDockerError(request: EngineRequest, endpoint: string, error: EngineFailure): DockerError {
  if (error.statusCode !== undefined) {
    const body = error.json as { message?: unknown } | null | undefined;
    // A call for a stream has its body in the modem's own sentence only: "(HTTP code 404) unexpected - no such image ".
    const message =
      typeof body?.message === 'string'
        ? body.message
        : error.message.replace(/^\(HTTP code \d+\) \S+ - /, '').trimEnd();
    return new DockerError(request.operation, kindOfStatus(error.statusCode), message, error.statusCode, error);
  }
  return new DockerError(
    request.operation,
    'unreachable',
    `Docker Engine at ${endpoint} does not answer: ${error.message || String(error)}`,
    undefined,
    error,
  );
}

function parseEndpoint(endpoint: string): { socketPath: string } | { host: string; port: number } {
  if (endpoint.startsWith('unix://')) return { socketPath: endpoint.slice('unix://'.length) };
  const match = /^(?:tcp|http):\/\/([^:/]+):(\d+)\/?$/.exec(endpoint);
  if (match) return { host: match[1]!, port: Number(match[2]) };
  throw new Error(
    `docker endpoint ${JSON.stringify(endpoint)}: expected unix:///path/to/docker.sock or tcp://host:port`,
  );
}
