import { endianness } from 'node:os';
import { formatAttribute, parseAttributes } from 'netlink/dist/structs.js';

/** Netlink speaks the host's byte order. */
export const LITTLE_ENDIAN = endianness() === 'LE';

export type Attribute = Uint8Array[];

function attribute(type: number, data: Uint8Array | Uint8Array[], nested: boolean): Attribute {
  const parts = formatAttribute({ type, data, nested });
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const padding = -length & 3;
  return padding === 0 ? parts : [...parts, Buffer.alloc(padding)];
}

/** Raw bytes, padded to four. */
export function bytes(type: number, data: Uint8Array): Attribute {
  return attribute(type, data, false);
}

export function u8(type: number, value: number): Attribute {
  return attribute(type, Buffer.from([value]), false);
}

export function u16(type: number, value: number): Attribute {
  const buffer = Buffer.alloc(2);
  if (LITTLE_ENDIAN) buffer.writeUInt16LE(value);
  else buffer.writeUInt16BE(value);
  return attribute(type, buffer, false);
}

export function u32(type: number, value: number): Attribute {
  return attribute(type, u32Bytes(value), false);
}

/** A string with its terminating zero. */
export function text(type: number, value: string): Attribute {
  return attribute(type, Buffer.from(`${value}\0`), false);
}

/** Attributes in an attribute, after an optional fixed header. */
export function nested(type: number, content: Attribute[], header?: Uint8Array): Attribute {
  return attribute(type, [...(header ? [header] : []), ...content.flat()], true);
}

export function u32Bytes(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  if (LITTLE_ENDIAN) buffer.writeUInt32LE(value >>> 0);
  else buffer.writeUInt32BE(value >>> 0);
  return buffer;
}

export function readU32(buffer: Buffer, offset = 0): number {
  return LITTLE_ENDIAN ? buffer.readUInt32LE(offset) : buffer.readUInt32BE(offset);
}

export function readI32(buffer: Buffer, offset = 0): number {
  return LITTLE_ENDIAN ? buffer.readInt32LE(offset) : buffer.readInt32BE(offset);
}

export function readU16(buffer: Buffer, offset = 0): number {
  return LITTLE_ENDIAN ? buffer.readUInt16LE(offset) : buffer.readUInt16BE(offset);
}

/** A string without what follows its zero. */
export function readText(buffer: Buffer): string {
  const end = buffer.indexOf(0);
  return buffer.toString('utf8', 0, end < 0 ? buffer.length : end);
}

/** The attributes that follow a fixed header of `offset` bytes; of a repeated one the last wins. */
export function readAttributes(buffer: Buffer, offset = 0): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  parseAttributes(buffer.subarray((offset + 3) & ~3), (item) => found.set(item.type, item.data));
  return found;
}
