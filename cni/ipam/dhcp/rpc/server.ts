import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from '../../../../src/runtime/log.ts';
import { CNI_ERROR, CniError } from '../../../types.ts';
import type { Integer } from '../gob/bytes.ts';
import { createGobDecoder } from '../gob/decoder.ts';
import { createGobEncoder, type SendableStruct, type StructSchema } from '../gob/encoder.ts';
import type { GobValue } from '../gob/values.ts';
import { CANNOT_FIND, CONNECTED, MOST_HEAD_BYTES, NOTHING, RESPONSE, readStruct, splitHead } from './headers.ts';

/** What a method gives: a value and its type. */
export interface Given {
  schema: StructSchema;
  value: SendableStruct;
}

/** @param gone aborted when who called does not wait any more. */
export type Method = (args: GobValue, gone: AbortSignal) => Promise<Given>;

interface Header {
  method: string;
  sequence: Integer;
}

/** Answers calls of Go's net/rpc. */
export interface RpcServer {
  /** Not listening yet. */
  readonly server: Server;
  /** Ends listening and all connections; calls under way see that their callers are gone. */
  close(): void;
}

/** Of any version of HTTP, as Go's server takes it. */
const CONNECT_LINE = /^CONNECT \/_goRPC_ HTTP\/1\.[01]$/;
/** A caller says at once what it wants. */
const SILENCE_MS = 60_000;
/** A node's pods may all be attached at a time; each waits for its server. */
const MOST_CONNECTIONS = 1024;
/** Callers that we know make one call a connection. */
const MOST_CALLS_OF_CONNECTION = 16;

/** @param methods by the name that callers use: `DHCP.Allocate`. */
export function createRpcServer(methods: ReadonlyMap<string, Method>, { log }: { log: Logger }): RpcServer {
  const sockets = new Set<Socket>();

  function serve(socket: Socket): void {
    const gone = new AbortController();
    const decoder = createGobDecoder();
    const encoder = createGobEncoder();
    let head: Buffer | undefined = Buffer.alloc(0);
    let header: Header | undefined;
    let underWay = 0;

    async function carryOut(method: string, args: GobValue): Promise<{ given: Given; error: SendableStruct }> {
      try {
        const known = methods.get(method);
        if (!known) throw new CniError(CNI_ERROR.unsupportedField, `${CANNOT_FIND}method ${method}`);
        return { given: await known(args, gone.signal), error: {} };
      } catch (error) {
        if (!(error instanceof CniError) && !gone.signal.aborted) log.warn({ err: error, method }, 'a call failed');
        const { code = CNI_ERROR.unknown, details = '' } = error instanceof CniError ? error : {};
        // An empty text would be no error.
        const text = (error as Error).message || 'unknown error';
        return { given: { schema: NOTHING, value: {} }, error: { Error: text, Code: code, Details: details } };
      }
    }

    async function call({ method, sequence }: Header, args: GobValue): Promise<void> {
      underWay += 1;
      const { given, error } = await carryOut(method, args);
      underWay -= 1;
      if (!socket.writable) return;
      const header = encoder.encode(RESPONSE, { ServiceMethod: method, Seq: sequence, ...error });
      socket.write(Buffer.concat([header, encoder.encode(given.schema, given.value)]));
    }

    function hangUp(error: unknown): void {
      log.warn({ err: error }, 'what calls does not speak as Go does, or is not understood: its connection is closed');
      socket.destroy();
    }

    /** Headers and arguments in turn. */
    function take(value: GobValue): void {
      if (!header) {
        const { text, integer } = readStruct(value);
        header = { method: text('ServiceMethod'), sequence: integer('Seq') };
        return;
      }
      if (underWay === MOST_CALLS_OF_CONNECTION)
        throw new Error(`more than ${MOST_CALLS_OF_CONNECTION} calls at a time`);
      call(header, value).catch(hangUp);
      header = undefined;
    }

    function receive(chunk: Buffer): void {
      let rest = chunk;
      if (head) {
        head = Buffer.concat([head, chunk]);
        const split = splitHead(head);
        if (!split) {
          if (head.length > MOST_HEAD_BYTES) socket.end(refusal('431 Request Header Fields Too Large'));
          return;
        }
        head = undefined;
        if (!CONNECT_LINE.test(split.firstLine)) {
          const isElsewhere = !split.firstLine.includes(' /_goRPC_ ');
          return void socket.end(refusal(isElsewhere ? '404 Not Found' : '405 must CONNECT'));
        }
        socket.write(`${CONNECTED}\n\n`);
        rest = split.rest;
      }
      if (rest.length > 0) for (const value of decoder.push(rest)) take(value);
    }

    sockets.add(socket);
    socket.on('data', (chunk) => {
      if (socket.writableEnded) return;
      try {
        receive(chunk);
      } catch (error) {
        hangUp(error);
      }
    });
    socket.setTimeout(SILENCE_MS, () => underWay === 0 && socket.destroy());
    // What there is to say of it comes with 'close'.
    socket.on('error', () => {});
    socket.once('close', () => {
      sockets.delete(socket);
      gone.abort(new CniError(CNI_ERROR.unknown, 'dhcp: who asked is gone'));
    });
  }

  const server = createServer(serve);
  server.maxConnections = MOST_CONNECTIONS;
  return {
    server,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

const refusal = (status: string) =>
  `HTTP/1.0 ${status}\r\ncontent-type: text/plain; charset=utf-8\r\n\r\n${status}: this socket is for DHCP plugins of CNI\n`;
