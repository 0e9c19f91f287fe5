import { GobError, type Integer } from '../gob/bytes.ts';
import type { StructSchema } from '../gob/encoder.ts';
import type { GobStruct, GobValue } from '../gob/values.ts';

/**
 * Go's net/rpc on a socket, as its package documentation tells: HTTP's CONNECT opens a stream of gob each way, where a header stands before
 * the arguments of each call and before what it gives.
 */
export const CONNECT = 'CONNECT /_goRPC_ HTTP/1.0';
export const CONNECTED = 'HTTP/1.0 200 Connected to Go RPC';
/** Of what is said before the streams. */
export const MOST_HEAD_BYTES = 8192;

export const REQUEST: StructSchema = { name: 'Request', fields: { ServiceMethod: 'string', Seq: 'uint' } };

/** The last two are ours: Go's client passes over fields that it does not know. */
export const RESPONSE: StructSchema = {
  name: 'Response',
  fields: { ServiceMethod: 'string', Seq: 'uint', Error: 'string', Code: 'int', Details: 'string' },
};

/** What a call of an unknown method gives, instead of a value. */
export const NOTHING: StructSchema = { name: '', fields: {} };

/** How errors begin that say that the other side does not have a method, in Go's words. */
export const CANNOT_FIND = "rpc: can't find ";

/** @returns what stands behind the head's empty line; undefined when the head is not whole yet. */
export function splitHead(received: Buffer): { firstLine: string; rest: Buffer } | undefined {
  // Go ends lines as Unix does, other clients as HTTP does.
  const ends = ['\n\n', '\r\n\r\n']
    .map((mark) => ({ at: received.indexOf(mark), mark }))
    .filter(({ at }) => at >= 0)
    .sort((one, other) => one.at - other.at);
  const [end] = ends;
  if (!end) return undefined;
  const [firstLine = ''] = received.subarray(0, end.at).toString('latin1').split(/\r?\n/, 1);
  return { firstLine, rest: received.subarray(end.at + end.mark.length) };
}

/** Fields of a struct that came, by type. Absent ones have the zero value. @throws GobError for one of another type. */
export function readStruct(value: GobValue) {
  if (!(value instanceof Map)) throw new GobError('a struct was expected');
  const struct: GobStruct = value;
  const read = <T extends GobValue>(name: string, zero: T, isOne: (field: GobValue) => field is T): T => {
    const field = struct.get(name);
    if (field === undefined) return zero;
    if (!isOne(field)) throw new GobError(`field ${name} is of another type`);
    return field;
  };
  return {
    text: (name: string) => read(name, '', (field) => typeof field === 'string'),
    integer: (name: string) =>
      read<Integer>(name, 0, (field) => typeof field === 'number' || typeof field === 'bigint'),
    bytes: (name: string) => read(name, new Uint8Array(), (field) => field instanceof Uint8Array),
    list: (name: string) => read<GobValue[]>(name, [], (field) => Array.isArray(field)),
    struct: (name: string) => read<GobStruct>(name, new Map(), (field) => field instanceof Map),
  };
}
