import { constants, createInflate } from 'node:zlib';
import { SPDY_DICTIONARY } from './dictionary.ts';

/** Names in lower case. Several values of one name are joined by NUL, as SPDY has it. */
export type SpdyHeaders = Record<string, string>;

const ZLIB_NO_COMPRESSION = Buffer.from([0x78, 0x01]);
const STORED_BLOCK_HEADER_BYTES = 5;
/** An empty block, as a sync flush writes it: Go's inflate hands out what it has only when it sees one. */
const SYNC_MARK = Buffer.from([0, 0, 0, 0xff, 0xff]);
const MAX_STORED_BYTES = 0xffff;
/** A block of a few hundred bytes opens a stream; one that inflates to more than this wants something else. */
const MAX_HEADER_BYTES = 64 * 1024;

/** The peer broke the protocol; the connection cannot go on. */
export class SpdyProtocolError extends Error {
  override name = 'SpdyProtocolError';
}

/**
 * Writes header blocks of one direction of one connection. The blocks are zlib "stored" ones: what we say in headers is a few words per
 * stream, and without a compressor's state every frame can be written at once, in order, without waiting for zlib's threads.
 */
export function createHeaderWriter(): (headers: SpdyHeaders) => Buffer {
  let isFirst = true;
  return (headers) => {
    const plain = encodeHeaders(headers);
    if (plain.length > MAX_STORED_BYTES) throw new SpdyProtocolError(`headers of ${plain.length} bytes are too long`);
    const block = Buffer.alloc(STORED_BLOCK_HEADER_BYTES);
    // Byte 0: not the last block, stored. Then its length and the complement.
    block.writeUInt16LE(plain.length, 1);
    block.writeUInt16LE(plain.length ^ 0xffff, 3);
    const parts = [block, plain, SYNC_MARK];
    if (isFirst) parts.unshift(ZLIB_NO_COMPRESSION);
    isFirst = false;
    return Buffer.concat(parts);
  };
}

export interface HeaderReader {
  /** One block at a time, in the order of the frames: each stands on all before it. Throws SpdyProtocolError. */
  read(block: Buffer): Promise<SpdyHeaders>;
  close(): void;
}

/** Reads header blocks of the other direction, whatever compressor made them. */
export function createHeaderReader(): HeaderReader {
  const inflate = createInflate({ dictionary: SPDY_DICTIONARY, finishFlush: constants.Z_SYNC_FLUSH });
  let chunks: Buffer[] = [];
  let size = 0;
  let failure: Error | undefined;
  let giveUp: ((error: Error) => void) | undefined;
  const fail = (error: Error) => {
    failure =
      error instanceof SpdyProtocolError ? error : new SpdyProtocolError(`compressed headers: ${error.message}`);
    inflate.destroy();
    giveUp?.(failure);
  };
  inflate.on('error', fail);
  inflate.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > MAX_HEADER_BYTES) fail(new SpdyProtocolError(`headers of more than ${MAX_HEADER_BYTES} bytes`));
    else chunks.push(chunk);
  });
  return {
    async read(block) {
      if (failure) throw failure;
      chunks = [];
      size = 0;
      await new Promise<void>((resolve, reject) => {
        giveUp = reject;
        inflate.write(block, (error) => (error ? reject(failure ?? error) : resolve()));
      });
      giveUp = undefined;
      return decodeHeaders(Buffer.concat(chunks));
    },
    close: () => inflate.destroy(),
  };
}

function encodeHeaders(headers: SpdyHeaders): Buffer {
  const entries = Object.entries(headers);
  const parts: Buffer[] = [uint32(entries.length)];
  for (const [name, value] of entries)
    for (const text of [name.toLowerCase(), value]) {
      const bytes = Buffer.from(text);
      parts.push(uint32(bytes.length), bytes);
    }
  return Buffer.concat(parts);
}

function decodeHeaders(block: Buffer): SpdyHeaders {
  let at = 0;
  const number = () => {
    if (at + 4 > block.length) throw new SpdyProtocolError('a header block ends too early');
    at += 4;
    return block.readUInt32BE(at - 4);
  };
  const text = () => {
    const length = number();
    if (length > block.length - at) throw new SpdyProtocolError('a header is longer than its block');
    at += length;
    return block.toString('utf8', at - length, at);
  };
  const headers: SpdyHeaders = Object.create(null);
  for (let left = number(); left > 0; left--) headers[text().toLowerCase()] = text();
  return headers;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
