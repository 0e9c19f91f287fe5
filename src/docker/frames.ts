import type { LogChunk } from './engine.ts';

const HEADER_BYTES = 8;
const STDERR = 2;

/**
 * Splits the Engine's multiplexed stream (logs, attach, exec without a terminal):
 * each frame is `[stream, 0, 0, 0, length as uint32 big endian]` and its payload.
 * A frame longer than a read is passed on in pieces, so that nothing is buffered beyond one read.
 */
export async function* demultiplex(source: AsyncIterable<Buffer>): AsyncGenerator<LogChunk> {
  let header = Buffer.alloc(0);
  let stream: LogChunk['stream'] = 'stdout';
  let remaining = 0;
  for await (const read of source) {
    let data = read;
    while (data.length > 0) {
      if (remaining === 0) {
        const missing = HEADER_BYTES - header.length;
        header = Buffer.concat([header, data.subarray(0, missing)]);
        data = data.subarray(missing);
        if (header.length < HEADER_BYTES) break;
        stream = header[0] === STDERR ? 'stderr' : 'stdout';
        remaining = header.readUInt32BE(4);
        header = Buffer.alloc(0);
        continue;
      }
      const piece = data.subarray(0, remaining);
      remaining -= piece.length;
      data = data.subarray(piece.length);
      yield { stream, data: piece };
    }
  }
}

/** Splits a stream of JSON documents, one per line (events, pull progress). */
export async function* jsonLines(source: AsyncIterable<Buffer>): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const read of source) {
    rest += decoder.decode(read, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') yield JSON.parse(line);
  }
  if (rest.trim() !== '') yield JSON.parse(rest);
}
