/** An object has some megabytes at the most; a line without end must not fill the memory. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;

/**
 * Cuts a byte stream into lines, whatever the chunk borders; what follows the last newline is dropped (a cut-off line). Throws when a line is
 * longer than any event can be.
 */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  // Kept as pieces and joined once per line: a long line that arrives in many chunks costs linear time.
  let pieces: Uint8Array[] = [];
  let waitingBytes = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const tail = chunk.subarray(start, end);
      const line = pieces.length === 0 ? tail : Buffer.concat([...pieces, tail]);
      pieces = [];
      waitingBytes = 0;
      start = end + 1;
      if (line.length > 0) yield Buffer.from(line.buffer, line.byteOffset, line.length).toString('utf8');
    }
    if (start === chunk.length) continue;
    pieces.push(chunk.subarray(start));
    waitingBytes += chunk.length - start;
    if (waitingBytes > MAX_LINE_BYTES) throw new Error(`a line of more than ${MAX_LINE_BYTES} bytes in a watch`);
  }
}

const NEWLINE = 0x0a;
