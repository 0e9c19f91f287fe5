import { LITTLE_ENDIAN, readU16, readU32 } from '../../linux/netlink/attributes.ts';

/** Protocol number of the netlink family that nf_tables, ipset and conntrack share (linux/netlink.h). */
export const NETLINK_NETFILTER = 12;

/** Subsystems: the upper byte of a message's type (linux/netfilter/nfnetlink.h). */
export const NFNL_SUBSYS_CTNETLINK = 1;
export const NFNL_SUBSYS_IPSET = 6;
export const NFNL_SUBSYS_NFTABLES = 10;

/** nlmsghdr (length, type, flags, sequence, port id) and nfgenmsg (family, version, resource id). */
const NETLINK_HEADER_BYTES = 16;
const GENERIC_HEADER_BYTES = 4;
const ATTRIBUTE_HEADER_BYTES = 4;
const NLA_F_NESTED = 0x8000;
/** The two flags (nested, network byte order) that share the type's 16 bits. */
const ATTRIBUTE_TYPE_MASK = 0x3fff;

/** The type of a message of a subsystem. */
export function messageType(subsystem: number, message: number): number {
  return (subsystem << 8) | message;
}

/** nfgenmsg: the header that every nfnetlink message has after netlink's own. `resourceId` goes in network byte order. */
export function genericHeader(family: number, resourceId = 0): Buffer {
  return Buffer.from([family, 0, resourceId >> 8, resourceId & 0xff]);
}

/**
 * Writes many messages one behind another into a single buffer that grows: a transaction of 250,000 set elements is some
 * 20 MB, and an object for each attribute would cost ten times that. Numbers are in network byte order, as nfnetlink wants them.
 */
export class MessageWriter {
  #buffer: Buffer;
  #length = 0;
  /** Where the message, and the nested attributes within, began. */
  #open: number[] = [];
  readonly #nestedFlag: number;

  /** @param options.marksNested false writes as the kernel's own dumps do, for comparison with them. */
  constructor(initialBytes = 4096, options: { marksNested?: boolean } = {}) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
    this.#nestedFlag = (options.marksNested ?? true) ? NLA_F_NESTED : 0;
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Begins a message with both headers. @returns where it begins */
  begin(type: number, flags: number, sequence: number, family: number, resourceId = 0): number {
    this.#reserve(NETLINK_HEADER_BYTES + GENERIC_HEADER_BYTES);
    const start = this.#length;
    this.#open.push(start);
    this.#hostU16(start + 4, type);
    this.#hostU16(start + 6, flags);
    this.#hostU32(start + 8, sequence);
    this.#hostU32(start + 12, 0);
    this.#buffer[start + 16] = family;
    this.#buffer[start + 17] = 0;
    this.#buffer.writeUInt16BE(resourceId, start + 18);
    this.#length = start + NETLINK_HEADER_BYTES + GENERIC_HEADER_BYTES;
    return start;
  }

  /** Adds flags to a message that was begun before. */
  addFlags(start: number, flags: number): void {
    this.#hostU16(start + 6, readU16(this.#buffer, start + 6) | flags);
  }

  /** Ends the message: its length is known now. */
  end(): void {
    const start = this.#open.pop()!;
    this.#hostU32(start, this.#length - start);
  }

  /** Begins an attribute that holds attributes. */
  nest(type: number): void {
    this.#open.push(this.#header(type | this.#nestedFlag, 0));
  }

  /** Bytes of the innermost open attribute (or message) so far; an attribute's length has 16 bits. */
  get openBytes(): number {
    return this.#length - this.#open.at(-1)!;
  }

  /** Ends the innermost attribute. */
  unnest(): void {
    const start = this.#open.pop()!;
    this.#hostU16(start, this.#length - start);
  }

  u8(type: number, value: number): void {
    const at = this.#header(type, 1) + ATTRIBUTE_HEADER_BYTES;
    this.#buffer[at] = value;
    this.#pad(at + 1);
  }

  u16(type: number, value: number): void {
    const at = this.#header(type, 2) + ATTRIBUTE_HEADER_BYTES;
    this.#buffer.writeUInt16BE(value, at);
    this.#pad(at + 2);
  }

  u32(type: number, value: number): void {
    // The header first: the buffer may be another one after it.
    const at = this.#header(type, 4) + ATTRIBUTE_HEADER_BYTES;
    this.#buffer.writeUInt32BE(value >>> 0, at);
  }

  u64(type: number, value: bigint): void {
    const at = this.#header(type, 8) + ATTRIBUTE_HEADER_BYTES;
    this.#buffer.writeBigUInt64BE(value, at);
  }

  /** Raw bytes, padded to four. */
  bytes(type: number, data: Uint8Array): void {
    const at = this.#header(type, data.length) + ATTRIBUTE_HEADER_BYTES;
    this.#buffer.set(data, at);
    this.#pad(at + data.length);
  }

  /** An attribute of so many bytes, all zero, for the caller to write into `buffer` before anything else is written. @returns where they begin */
  room(type: number, bytes: number): number {
    const at = this.#header(type, bytes) + ATTRIBUTE_HEADER_BYTES;
    const end = (at + bytes + 3) & ~3;
    this.#buffer.fill(0, at, end);
    this.#length = end;
    return at;
  }

  get buffer(): Buffer {
    return this.#buffer;
  }

  /** A string with its terminating zero. */
  text(type: number, value: string): void {
    const bytes = Buffer.byteLength(value);
    const at = this.#header(type, bytes + 1) + ATTRIBUTE_HEADER_BYTES;
    this.#buffer.write(value, at);
    this.#buffer[at + bytes] = 0;
    this.#pad(at + bytes + 1);
  }

  /** What was written, without a copy; the writer is done with. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** An attribute's header and the room for `bytes` behind it. @returns where the header stands */
  #header(type: number, bytes: number): number {
    const start = this.#length;
    this.#reserve(ATTRIBUTE_HEADER_BYTES + bytes + 3);
    this.#hostU16(start, ATTRIBUTE_HEADER_BYTES + bytes);
    this.#hostU16(start + 2, type);
    this.#length = start + ATTRIBUTE_HEADER_BYTES + bytes;
    return start;
  }

  #pad(end: number): void {
    const padded = (end + 3) & ~3;
    this.#buffer.fill(0, end, padded);
    this.#length = padded;
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }

  #hostU16(at: number, value: number): void {
    if (LITTLE_ENDIAN) this.#buffer.writeUInt16LE(value, at);
    else this.#buffer.writeUInt16BE(value, at);
  }

  #hostU32(at: number, value: number): void {
    if (LITTLE_ENDIAN) this.#buffer.writeUInt32LE(value >>> 0, at);
    else this.#buffer.writeUInt32BE(value >>> 0, at);
  }
}

/** A message as it came, headers taken off. `body` (attributes, after nfgenmsg where the subsystem has one) is not copied. */
export interface Message {
  type: number;
  flags: number;
  sequence: number;
  /** Port id of the socket whose request it answers, or whose change it tells of. */
  portId: number;
  body: Buffer;
}

/** The messages of a datagram. @throws RangeError when one is cut off */
export function* readMessages(datagram: Buffer): Generator<Message, void> {
  for (let start = 0; start + NETLINK_HEADER_BYTES <= datagram.length; ) {
    const length = readU32(datagram, start);
    if (length < NETLINK_HEADER_BYTES || start + length > datagram.length)
      throw new RangeError(`netlink: a message of ${length} bytes in ${datagram.length - start}`);
    yield {
      type: readU16(datagram, start + 4),
      flags: readU16(datagram, start + 6),
      sequence: readU32(datagram, start + 8),
      portId: readU32(datagram, start + 12),
      body: datagram.subarray(start + NETLINK_HEADER_BYTES, start + length),
    };
    start += (length + 3) & ~3;
  }
}

/** Walks attributes without making objects of them: of an nfnetlink body from offset 4 on, of a nested attribute from 0. */
export function eachAttribute(data: Buffer, from: number, visit: (type: number, value: Buffer) => void): void {
  for (let start = from; start + ATTRIBUTE_HEADER_BYTES <= data.length; ) {
    const length = readU16(data, start);
    if (length < ATTRIBUTE_HEADER_BYTES || start + length > data.length) return;
    visit(
      readU16(data, start + 2) & ATTRIBUTE_TYPE_MASK,
      data.subarray(start + ATTRIBUTE_HEADER_BYTES, start + length),
    );
    start += (length + 3) & ~3;
  }
}
