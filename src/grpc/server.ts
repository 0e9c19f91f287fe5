import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Server, ServerUnaryCall, ServiceDefinition, StatusObject, sendUnaryData } from '@grpc/grpc-js';
import { GrpcError, type Unary } from './client.ts';

/** A method with what answers it. What it throws reaches the caller: a GrpcError with its code, anything else as `Unknown`. */
export interface Served {
  readonly method: Unary<unknown, unknown>;
  handle(request: unknown): unknown;
}

/** Keeps the types of a method and its handler together. */
export function serve<Request, Response>(
  method: Unary<Request, Response>,
  handle: (request: Request) => Response | Promise<Response>,
): Served {
  return { method: method as unknown as Unary<unknown, unknown>, handle: handle as Served['handle'] };
}

export interface GrpcServerOptions {
  /** Its directory is made (0750) when missing; a socket of an earlier life is replaced. */
  socketPath: string;
  /** Of the socket: 0o600 unless others are to reach it. */
  mode?: number;
}

export interface GrpcServer {
  /** @throws when the socket cannot be had */
  listen(): Promise<void>;
  /** Cuts the calls that are under way, and removes the socket. Idempotent. */
  close(): Promise<void>;
}

/**
 * A gRPC server on a Unix socket. The socket is there at once; the library is loaded with the first connection, since on
 * most nodes nobody ever connects.
 */
export function createGrpcServer(
  { socketPath, mode = 0o600 }: GrpcServerOptions,
  methods: readonly Served[],
): GrpcServer {
  const connections = new Set<Socket>();
  let answering: Promise<{ server: Server; inject(socket: Socket): void }> | undefined;
  const listener = createServer((socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    // A caller that goes away in the middle is nobody's trouble.
    socket.on('error', () => {});
    answering ??= createAnsweringServer(methods);
    answering.then(
      ({ inject }) => inject(socket),
      () => socket.destroy(),
    );
  });

  return {
    async listen() {
      await mkdir(dirname(socketPath), { recursive: true, mode: 0o750 });
      await rm(socketPath, { force: true });
      await new Promise<void>((resolve, reject) => {
        listener.once('error', reject);
        listener.listen(socketPath, () => {
          listener.off('error', reject);
          resolve();
        });
      });
      await chmod(socketPath, mode);
    },
    async close() {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      const loaded = await answering?.catch(() => undefined);
      loaded?.server.forceShutdown();
      for (const socket of connections) socket.destroy();
      await closed;
      await rm(socketPath, { force: true });
    },
  };
}

async function createAnsweringServer(methods: readonly Served[]) {
  const { Server, ServerCredentials, status } = await import('@grpc/grpc-js');
  const server = new Server();
  const failure = (error: unknown): Partial<StatusObject> => {
    if (!(error instanceof GrpcError))
      return { code: status.UNKNOWN, details: error instanceof Error ? error.message : String(error) };
    // `ResourceExhausted` → RESOURCE_EXHAUSTED
    const name = error.code.replaceAll(/(?<=.)([A-Z])/g, '_$1').toUpperCase();
    return { code: status[name as keyof typeof status] ?? status.UNKNOWN, details: error.description };
  };
  const definition: Record<string, unknown> = {};
  const handlers: Record<string, unknown> = {};
  for (const { method, handle } of methods) {
    definition[method.path] = {
      path: method.path,
      requestStream: false,
      responseStream: false,
      requestSerialize: method.request.encode,
      requestDeserialize: method.request.decode,
      responseSerialize: method.response.encode,
      responseDeserialize: method.response.decode,
    };
    handlers[method.path] = (call: ServerUnaryCall<unknown, unknown>, done: sendUnaryData<unknown>) => {
      Promise.resolve()
        .then(() => handle(call.request))
        .then(
          (response) => done(null, response),
          (error) => done(failure(error)),
        );
    };
  }
  server.addService(definition as ServiceDefinition, handlers as never);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  return { server, inject: (socket: Socket) => injector.injectConnection(socket) };
}
