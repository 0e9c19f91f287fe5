import { DecodeError } from './decode-error.ts';

/** Protobuf wire types; groups (3, 4) are not used by Kubernetes. */
export const wireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** The largest double below 2⁶³: what an int64 beyond JavaScript's integers may become and still be an int64. */
const largestInt64Double = 2 ** 63 - 1024;

/** Reads one protobuf message's fields out of `bytes[position, end)`. */
export class WireReader {
  readonly bytes: Buffer;
  readonly end: number;
  position: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.bytes = bytes;
    this.position = start;
    this.end = end;
  }

  get done(): boolean {
    return this.position >= this.end;
  }

  /** A reader of the length-delimited value that comes next. */
  message(): WireReader {
    const length = this.varint();
    const start = this.position;
    if (length < 0 || start + length > this.end) throw this.#truncated();
    this.position = start + length;
    return new WireReader(this.bytes, start, this.position);
  }

  text(): string {
    const { position, end } = this.message();
    return this.bytes.toString('utf8', position, end);
  }

  base64(): string {
    const { position, end } = this.message();
    return this.bytes.toString('base64', position, end);
  }

  /** A varint as a signed 64-bit number; precision ends at 2⁵³, the range at int64. */
  varint(): number {
    let value = 0;
    let factor = 1;
    for (let index = 0; index < 4; index++) {
      const byte = this.#byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 0x80;
    }
    let wide = BigInt(value);
    for (let shift = 28n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      wide |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Math.min(Number(BigInt.asIntN(64, wide)), largestInt64Double);
    }
    throw new DecodeError('proto: varint is longer than 10 bytes');
  }

  double(): number {
    const start = this.position;
    if (start + 8 > this.end) throw this.#truncated();
    this.position += 8;
    return this.bytes.readDoubleLE(start);
  }

  /** Steps over the value of a field that nobody knows. */
  skip(type: number): void {
    if (type === wireType.varint) this.varint();
    else if (type === wireType.bytes) this.message();
    else if (type === wireType.fixed64) this.#advance(8);
    else if (type === wireType.fixed32) this.#advance(4);
    else throw new DecodeError(`proto: illegal wireType ${type}`);
  }

  #advance(length: number): void {
    this.position += length;
    if (this.position > this.end) throw this.#truncated();
  }

  #byte(): number {
    if (this.position >= this.end) throw this.#truncated();
    return this.bytes[this.position++]!;
  }

  #truncated(): DecodeError {
    return new DecodeError('unexpected EOF');
  }
}

/** The length-delimited fields of a message by number, the last one where a number comes again. */
export function messageFields(reader: WireReader): Map<number, WireReader> {
  const fields = new Map<number, WireReader>();
  while (!reader.done) {
    const tag = reader.varint();
    if ((tag & 7) === wireType.bytes) fields.set(tag >>> 3, reader.message());
    else reader.skip(tag & 7);
  }
  return fields;
}

/** The bytes of a length-delimited field as text; '' where it is absent. */
export function messageText(reader: WireReader | undefined): string {
  return reader ? reader.bytes.toString('utf8', reader.position, reader.end) : '';
}
