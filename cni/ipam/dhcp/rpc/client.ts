import { connect } from 'node:net';
import { createGobDecoder } from '../gob/decoder.ts';
import { createGobEncoder, type SendableStruct, type StructSchema } from '../gob/encoder.ts';
import type { GobValue } from '../gob/values.ts';
import { CONNECT, CONNECTED, MOST_HEAD_BYTES, REQUEST, readStruct, splitHead } from './headers.ts';

/** What the called method says went wrong, in its words. */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  /** Of the CNI specification; undefined from a daemon that knows none. */
  readonly code: number | undefined;
  readonly details: string | undefined;

  constructor(message: string, code: number | undefined, details: string | undefined) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** Who listens does not speak Go's net/rpc. */
export class NotRpcError extends Error {
  override readonly name = 'NotRpcError';
}

export interface RpcCall {
  socketPath: string;
  /** `DHCP.Allocate`. */
  method: string;
  schema: StructSchema;
  args: SendableStruct;
  timeoutMs: number;
}

/**
 * One call of Go's net/rpc, by a connection of its own; one that is cut off ends what it waits for.
 * @returns what the method gave. @throws RpcError for the method's own error, NotRpcError, or why it could not be called.
 */
export function callRpc({ socketPath, method, schema, args, timeoutMs }: RpcCall): Promise<GobValue> {
  const socket = connect(socketPath);
  const encoder = createGobEncoder();
  const decoder = createGobDecoder();
  const values: GobValue[] = [];
  let head: Buffer | undefined = Buffer.alloc(0);

  function receive(chunk: Buffer): void {
    let rest = chunk;
    if (head) {
      head = Buffer.concat([head, chunk]);
      const split = splitHead(head);
      if (!split) {
        if (head.length > MOST_HEAD_BYTES) throw new NotRpcError('its greeting does not end');
        return;
      }
      if (split.firstLine !== CONNECTED)
        throw new NotRpcError(`unexpected HTTP response: ${split.firstLine.slice(0, 200)}`);
      head = undefined;
      rest = split.rest;
      socket.write(
        Buffer.concat([encoder.encode(REQUEST, { ServiceMethod: method, Seq: 0 }), encoder.encode(schema, args)]),
      );
    }
    if (rest.length > 0) values.push(...decoder.push(rest));
  }

  /** undefined until header and value are there. */
  function given(): { value: GobValue } | undefined {
    if (values.length < 2) return undefined;
    const [header, value] = values;
    const { text, integer } = readStruct(header);
    const error = text('Error');
    const code = Number(integer('Code'));
    if (error !== '') throw new RpcError(error, code === 0 ? undefined : code, text('Details') || undefined);
    return { value };
  }

  return new Promise<GobValue>((resolve, reject) => {
    socket.on('data', (chunk) => {
      try {
        receive(chunk);
        const answer = given();
        if (answer) resolve(answer.value);
      } catch (error) {
        reject(error);
      }
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('it closed the connection without an answer')));
    socket.setTimeout(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs / 1000} s`)));
    socket.write(`${CONNECT}\n\n`);
  }).finally(() => socket.destroy());
}
