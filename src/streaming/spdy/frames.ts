/**
 * Frames of SPDY/3.1, as bytes.
 *
 *     control: 1|version(15) type(16) flags(8) length(24) …       data: 0|stream(31) flags(8) length(24) …
 */
import { SpdyProtocolError } from './headers.ts';

export const FRAME = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;
/** The sender of the frame is done with the stream. */
export const FLAG_FIN = 1;
export const RST_STATUS = { protocolError: 1, invalidStream: 2, refusedStream: 3, cancel: 5 } as const;

const VERSION = 3;
const HEADER_BYTES = 8;
/** Opens a stream, at the most; longer control frames are an attack or a mistake. */
const MAX_CONTROL_BYTES = 64 * 1024;
const CONTROL_BIT = 0x80000000;
const STREAM_MASK = 0x7fffffff;

export type Frame =
  | { kind: 'control'; type: number; flags: number; payload: Buffer }
  /** A piece of a data frame; `fin` comes with the last one. */
  | { kind: 'data'; streamId: number; fin: boolean; payload: Buffer };

/** Cuts what arrives into frames. Control frames come whole, data in the pieces that the network makes of it: nothing is held back or copied twice. */
export function createFrameReader(): (chunk: Buffer) => Frame[] {
  let rest: Buffer = Buffer.alloc(0);
  let data: { streamId: number; flags: number; left: number } | undefined;

  return (chunk) => {
    const frames: Frame[] = [];
    let input = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    for (;;) {
      if (data) {
        if (input.length === 0 && data.left > 0) break;
        const payload = input.subarray(0, data.left);
        data.left -= payload.length;
        input = input.subarray(payload.length);
        const fin = data.left === 0 && (data.flags & FLAG_FIN) !== 0;
        if (payload.length > 0 || fin) frames.push({ kind: 'data', streamId: data.streamId, fin, payload });
        if (data.left === 0) data = undefined;
        continue;
      }
      if (input.length < HEADER_BYTES) break;
      const first = input.readUInt32BE(0);
      const flags = input.readUInt8(4);
      const length = input.readUIntBE(5, 3);
      if ((first & CONTROL_BIT) === 0) {
        data = { streamId: first & STREAM_MASK, flags, left: length };
        input = input.subarray(HEADER_BYTES);
        continue;
      }
      const version = (first >>> 16) & 0x7fff;
      if (version !== VERSION) throw new SpdyProtocolError(`SPDY version ${version}, not ${VERSION}`);
      if (length > MAX_CONTROL_BYTES) throw new SpdyProtocolError(`a control frame of ${length} bytes`);
      if (input.length < HEADER_BYTES + length) break;
      const payload = input.subarray(HEADER_BYTES, HEADER_BYTES + length);
      frames.push({ kind: 'control', type: first & 0xffff, flags, payload });
      input = input.subarray(HEADER_BYTES + length);
    }
    rest = input;
    return frames;
  };
}

function control(type: number, flags: number, payload: Buffer): Buffer {
  const frame = Buffer.alloc(HEADER_BYTES + payload.length);
  frame.writeUInt16BE(0x8000 | VERSION, 0);
  frame.writeUInt16BE(type, 2);
  frame.writeUInt8(flags, 4);
  frame.writeUIntBE(payload.length, 5, 3);
  payload.copy(frame, HEADER_BYTES);
  return frame;
}

/** Stream id, associated stream (none), priority and slot (lowest), headers. */
export function synStream(streamId: number, headerBlock: Buffer, fin = false): Buffer {
  const head = Buffer.alloc(10);
  head.writeUInt32BE(streamId, 0);
  return control(FRAME.synStream, fin ? FLAG_FIN : 0, Buffer.concat([head, headerBlock]));
}

export function synReply(streamId: number, headerBlock: Buffer): Buffer {
  return control(FRAME.synReply, 0, Buffer.concat([uint32(streamId), headerBlock]));
}

export function rstStream(streamId: number, status: number): Buffer {
  return control(FRAME.rstStream, 0, Buffer.concat([uint32(streamId), uint32(status)]));
}

export function ping(id: number): Buffer {
  return control(FRAME.ping, 0, uint32(id));
}

export function goAway(lastStreamId: number, status = 0): Buffer {
  return control(FRAME.goAway, 0, Buffer.concat([uint32(lastStreamId), uint32(status)]));
}

/** The head of a data frame; the payload of `length` bytes (below 16 MiB) follows it. */
export function dataHead(streamId: number, length: number, fin: boolean): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt32BE(streamId, 0);
  head.writeUInt8(fin ? FLAG_FIN : 0, 4);
  head.writeUIntBE(length, 5, 3);
  return head;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
