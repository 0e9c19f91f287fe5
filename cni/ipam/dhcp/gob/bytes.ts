/** What breaks the rules of Go's encoding/gob, or a limit of ours. A stream is of no use after it. */
export class GobError extends Error {
  override readonly name = 'GobError';

  constructor(message: string) {
    super(`gob: ${message}`);
  }
}

/** An integer of 64 bits; a bigint only where a number would not be exact. */
export type Integer = number | bigint;

/** Reads the units that all of gob is made of, one after the other. Every method throws GobError at the end of the bytes. */
export interface GobReader {
  readonly left: number;
  uint(): Integer;
  int(): Integer;
  float(): number;
  /** A count of what follows, each of which has a byte at least. */
  count(): number;
  bytes(length: number): Uint8Array;
}

const LARGEST_IN_BYTE = 127;
/** Integers of more bytes may not fit a number. */
const BYTES_OF_NUMBER = 6;

/** How many bytes follow the first one of an unsigned integer; 0: the first one is the integer. @throws GobError. */
export function uintTail(first: number): number {
  const length = first <= LARGEST_IN_BYTE ? 0 : 256 - first;
  if (length > 8) throw new GobError(`an integer of ${length} bytes`);
  return length;
}

/** Big-endian. */
export function uintOf(bytes: Uint8Array): Integer {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length <= BYTES_OF_NUMBER) return buffer.length === 0 ? 0 : buffer.readUIntBE(0, buffer.length);
  return exact(BigInt(`0x${buffer.toString('hex')}`));
}

const exact = (value: bigint): Integer => {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
};

export function createGobReader(data: Uint8Array): GobReader {
  let at = 0;
  const bytes = (length: number) => {
    if (length > data.length - at) throw new GobError(`${length} bytes of ${data.length - at}`);
    at += length;
    return data.subarray(at - length, at);
  };
  const uint = () => {
    const first = bytes(1)[0]!;
    const tail = uintTail(first);
    return tail === 0 ? first : uintOf(bytes(tail));
  };
  return {
    get left() {
      return data.length - at;
    },
    bytes,
    uint,
    int() {
      const value = uint();
      // The lowest bit says whether the others are complemented.
      if (typeof value === 'bigint') return exact(value & 1n ? ~(value >> 1n) : value >> 1n);
      return value % 2 === 1 ? -(value - 1) / 2 - 1 : value / 2;
    },
    float() {
      const reversed = Buffer.alloc(8);
      reversed.writeBigUInt64BE(BigInt(uint()));
      return reversed.readDoubleLE();
    },
    count() {
      const value = uint();
      if (value > data.length - at) throw new GobError(`a count of ${value} with ${data.length - at} bytes left`);
      return Number(value);
    },
  };
}

/** Of 64 bits; an integer below 128 is its own byte, others follow the count of theirs, negated. @throws RangeError. */
export function renderUint(value: Integer): Buffer {
  if (value >= 0 && value <= LARGEST_IN_BYTE) return Buffer.from([Number(value)]);
  const whole = Buffer.alloc(8);
  whole.writeBigUInt64BE(BigInt(value));
  const digits = whole.subarray(whole.findIndex((byte) => byte !== 0));
  return Buffer.concat([Buffer.from([256 - digits.length]), digits]);
}

export function renderInt(value: Integer): Buffer {
  const signed = BigInt(value);
  return renderUint(BigInt.asUintN(64, signed < 0n ? (~signed << 1n) | 1n : signed << 1n));
}
