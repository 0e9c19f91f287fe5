import type { LogFile } from './chain.ts';

const NEWLINE = 0x0a;

/**
 * Where the newest `lines` entries of a log begin: the files that hold them, oldest first, the first of them with its `offset` set
 * (or, of a compressed one, `skip` lines of it to be passed over).
 */
export async function findTail(
  files: readonly LogFile[],
  lines: number,
): Promise<{ files: LogFile[]; skipLines: number }> {
  const kept: LogFile[] = [];
  let left = lines;
  for (const file of files.toReversed()) {
    kept.unshift(file);
    const has = await countLines(file);
    if (has >= left) return { files: kept, skipLines: has - left };
    left -= has;
  }
  return { files: kept, skipLines: 0 };
}

/** Reads it from the start and leaves it there. */
async function countLines(file: LogFile): Promise<number> {
  let count = 0;
  for await (const block of file.read())
    for (let at = block.indexOf(NEWLINE); at !== -1; at = block.indexOf(NEWLINE, at + 1)) count++;
  file.offset = 0;
  return count;
}

/** Passes on what comes after so many lines. */
export function createLineSkipper(lines: number): (block: Buffer) => Buffer {
  let left = lines;
  return (block) => {
    let from = 0;
    while (left > 0) {
      const end = block.indexOf(NEWLINE, from);
      if (end === -1) return block.subarray(block.length);
      from = end + 1;
      left--;
    }
    return block.subarray(from);
  };
}
