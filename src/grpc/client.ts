import type { Client, ServiceError } from '@grpc/grpc-js';
import type { Message } from './message.ts';

/** One method of a service: `/csi.v1.Node/NodeGetInfo`. */
export interface Unary<Request, Response> {
  readonly path: string;
  readonly request: Message<Request>;
  readonly response: Message<Response>;
}

/** A method that answers with messages until it, or the caller, ends: `/v1beta1.DevicePlugin/ListAndWatch`. */
export interface ServerStreaming<Request, Response> extends Unary<Request, Response> {
  readonly streams: true;
}

/** A call that was answered with another status than OK, or with none. The text is that of Go's client, which people search for. */
export class GrpcError extends Error {
  override readonly name = 'GrpcError';
  /** `Unavailable`, `FailedPrecondition`, …. */
  readonly code: string;
  readonly description: string;

  constructor(code: string, description: string, cause?: unknown) {
    super(`rpc error: code = ${code} desc = ${description}`, { cause });
    this.code = code;
    this.description = description;
  }
}

export interface GrpcClient {
  /** @throws GrpcError; the signal's reason on abort */
  call<Request, Response>(
    method: Unary<Request, Response>,
    request: Request,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Response>;
  /** Answers as they come, until the server ends the call. @throws GrpcError; the signal's reason on abort */
  stream<Request, Response>(
    method: ServerStreaming<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): AsyncIterable<Response>;
  close(): void;
}

/** A client on a Unix socket. It connects with the first call, and again when the server was restarted. */
export function connectGrpc(socketPath: string): GrpcClient {
  let connected: Client | undefined;
  let isClosed = false;

  /** The client and the library's words, with the first call. */
  async function connect(signal: AbortSignal | undefined) {
    // Most nodes have no plugin: they need not carry the library in memory.
    const { Client, credentials, Metadata, status } = await import('@grpc/grpc-js');
    signal?.throwIfAborted();
    if (isClosed) throw new GrpcError('Canceled', `the client of ${socketPath} is closed`);
    connected ??= new Client(`unix://${socketPath}`, credentials.createInsecure(), {
      // A plugin that comes back is wanted at once, not after minutes of back-off.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2000,
      // A new client for a plugin that has registered again must not inherit the back-off of the one before.
      'grpc.use_local_subchannel_pool': 1,
    });
    return { client: connected, Metadata, status };
  }

  return {
    async call(method, request, { timeoutMs, signal }) {
      const { client, Metadata, status } = await connect(signal);
      const { promise, resolve, reject } = Promise.withResolvers<NonNullable<unknown>>();
      const call = client.makeUnaryRequest(
        method.path,
        (value: typeof request) => method.request.encode(value),
        (bytes) => method.response.decode(bytes) as NonNullable<unknown>,
        request,
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, response) => (error ? reject(asGrpcError(error, status[error.code])) : resolve(response!)),
      );
      const abort = () => call.cancel();
      signal?.addEventListener('abort', abort, { once: true });
      try {
        return (await promise) as never;
      } catch (error) {
        signal?.throwIfAborted();
        throw error;
      } finally {
        signal?.removeEventListener('abort', abort);
      }
    },
    async *stream(method, request, signal) {
      const { client, Metadata, status } = await connect(signal);
      const call = client.makeServerStreamRequest(
        method.path,
        (value: typeof request) => method.request.encode(value),
        (bytes) => method.response.decode(bytes) as NonNullable<unknown>,
        request,
        new Metadata(),
      );
      const abort = () => call.cancel();
      signal.addEventListener('abort', abort, { once: true });
      try {
        for await (const response of call) yield response as never;
      } catch (error) {
        signal.throwIfAborted();
        throw asGrpcError(error as ServiceError, status[(error as ServiceError).code]);
      } finally {
        signal.removeEventListener('abort', abort);
        call.cancel();
      }
    },
    close() {
      isClosed = true;
      connected?.close();
    },
  };
}

/** `FAILED_PRECONDITION` → `FailedPrecondition`. */
function asGrpcError(error: ServiceError, name = `Code(${error.code})`): GrpcError {
  const code = name.toLowerCase().replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return new GrpcError(code === 'Cancelled' ? 'Canceled' : code, error.details, error);
}
