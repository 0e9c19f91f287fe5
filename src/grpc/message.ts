import { WireReader, wireType } from '../kube/schema/wire-reader.ts';

/**
 * Protobuf messages (proto3) of the few gRPC protocols that a node speaks, described in place:
 *
 *     const InfoResponse = message({ name: field(1, text), versions: repeated(2, text) });
 *     type InfoResponse = ValueOf<typeof InfoResponse>;
 *
 * A value has every scalar, list and map (zero or empty when it was not sent), and messages that were sent.
 */

interface Kind<T> {
  readonly wire: number;
  /** What stands for "not sent". */
  readonly zero: T;
  write(value: T): Buffer;
  read(reader: WireReader): T;
}

export const text: Kind<string> = {
  wire: wireType.bytes,
  zero: '',
  write: (value) => prefixed(Buffer.from(value, 'utf8')),
  read: (reader) => reader.text(),
};

/** int32, int64 and enums; exact up to 2⁵³. */
export const integer: Kind<number> = {
  wire: wireType.varint,
  zero: 0,
  write: (value) => varint(BigInt(value)),
  read: (reader) => reader.varint(),
};

export const flag: Kind<boolean> = {
  wire: wireType.varint,
  zero: false,
  write: (value) => varint(value ? 1n : 0n),
  read: (reader) => reader.varint() !== 0,
};

interface Field<T> {
  readonly number: number;
  initial(): T;
  write(value: T): Buffer[];
  /** The value after one more occurrence on the wire. */
  read(current: T, reader: WireReader, wire: number): T;
  readonly wire: number;
  /** Another wire type that stands for the same: packed numbers. */
  readonly alsoWire?: number;
}

export function field<T>(number: number, kind: Kind<T>): Field<T> {
  return {
    number,
    wire: kind.wire,
    initial: () => kind.zero,
    write: (value) => (value === kind.zero ? [] : [tag(number, kind.wire), kind.write(value)]),
    read: (_, reader) => kind.read(reader),
  };
}

export function repeated<T>(number: number, kind: Kind<T>): Field<T[]> {
  return {
    number,
    wire: kind.wire,
    initial: () => [],
    write: (values) => values.flatMap((value) => [tag(number, kind.wire), kind.write(value)]),
    read: (values, reader) => [...values, kind.read(reader)],
  };
}

/** Repeated integers: packed, as proto3 writes them; one by one, as older writers may, is read too. */
export function integers(number: number): Field<number[]> {
  return {
    number,
    wire: wireType.bytes,
    alsoWire: wireType.varint,
    initial: () => [],
    write: (values) =>
      values.length === 0 ? [] : [tag(number, wireType.bytes), prefixed(Buffer.concat(values.map(integer.write)))],
    read(values, reader, wire) {
      if (wire === wireType.varint) return [...values, reader.varint()];
      const packed = reader.message();
      const read = [...values];
      while (!packed.done) read.push(packed.varint());
      return read;
    },
  };
}

/** A message inside; undefined when it was not sent, which oneofs and wrappers tell from an empty one. */
export function nested<T>(number: number, of: Message<T>): Field<T | undefined> {
  const kind = asKind(of);
  return {
    number,
    wire: kind.wire,
    initial: () => undefined,
    write: (value) => (value === undefined ? [] : [tag(number, kind.wire), kind.write(value)]),
    read: (_, reader) => kind.read(reader),
  };
}

/** map<string, string> */
export function textMap(number: number): Field<Record<string, string>> {
  const kind = asKind(message({ key: field(1, text), value: field(2, text) }));
  return {
    number,
    wire: kind.wire,
    initial: () => ({}),
    write: (values) =>
      Object.entries(values).flatMap(([key, value]) => [tag(number, kind.wire), kind.write({ key, value })]),
    read(values, reader) {
      const { key, value } = kind.read(reader);
      // Assignment would lose a key such as __proto__.
      return Object.fromEntries([...Object.entries(values), [key, value]]);
    },
  };
}

export interface Message<T> {
  encode(value: T): Buffer;
  /** Unknown fields are skipped. Throws DecodeError on what is no protobuf. */
  decode(bytes: Buffer): T;
}

export type ValueOf<M> = M extends Message<infer T> ? T : never;

type Fields<T> = { readonly [K in keyof T]: Field<T[K]> };

export function message<T extends object>(fields: Fields<T>): Message<T> {
  const entries = Object.entries(fields) as [keyof T, Field<T[keyof T]>][];
  return {
    encode: (value) => Buffer.concat(entries.flatMap(([name, one]) => one.write(value[name]))),
    decode(bytes) {
      const value = Object.fromEntries(entries.map(([name, one]) => [name, one.initial()])) as T;
      const reader = new WireReader(bytes, 0, bytes.length);
      while (!reader.done) {
        const key = reader.varint();
        const wire = key & 7;
        const known = entries.find(
          ([, one]) => one.number === key >>> 3 && (one.wire === wire || one.alsoWire === wire),
        );
        if (known) value[known[0]] = known[1].read(value[known[0]], reader, wire);
        else reader.skip(wire);
      }
      return value;
    },
  };
}

/** Messages of one repeated field, and of map entries. */
export function asKind<T>(of: Message<T>): Kind<T> {
  return {
    wire: wireType.bytes,
    zero: undefined as T,
    write: (value) => prefixed(of.encode(value)),
    read(reader) {
      const { bytes, position, end } = reader.message();
      return of.decode(bytes.subarray(position, end));
    },
  };
}

const tag = (number: number, wire: number) => varint(BigInt((number << 3) | wire));

const prefixed = (bytes: Buffer) => Buffer.concat([varint(BigInt(bytes.length)), bytes]);

/** Seven bits a byte, the low ones first; negative numbers as 64-bit two's complement. */
function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}
