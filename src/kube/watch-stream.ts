/** Cuts a byte stream into lines, whatever the chunk borders; what follows the last newline is dropped (a cut-off line). */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  // Kept as pieces and joined once per line: a long line that arrives in many chunks costs linear time.
  let pieces: Uint8Array[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const tail = chunk.subarray(start, end);
      const line = pieces.length === 0 ? tail : Buffer.concat([...pieces, tail]);
      pieces = [];
      start = end + 1;
      if (line.length > 0) yield Buffer.from(line.buffer, line.byteOffset, line.length).toString('utf8');
    }
    if (start < chunk.length) pieces.push(chunk.subarray(start));
  }
}

const NEWLINE = 0x0a;
