import { readSync, writeSync } from 'node:fs';

const CHUNK_BYTES = 1 << 16;
const RETRY_MS = 1;

/**
 * All of stdin, or of another descriptor, as text. A program that lives for some milliseconds does without `process.stdin`, behind which
 * are sockets and streams.
 * @throws the error of read(2).
 */
export async function readInput(fd = 0): Promise<string> {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    const length = await whenReady(() => readSync(fd, chunk));
    if (length === 0) return Buffer.concat(chunks).toString('utf8');
    chunks.push(chunk.subarray(0, length));
  }
}

/** Writes all of it to stdout, or to another descriptor. A reader who is gone has no use for the rest. */
export async function writeOutput(text: string, fd = 1): Promise<void> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; )
    try {
      at += await whenReady(() => writeSync(fd, bytes, at));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EPIPE') return;
      throw error;
    }
}

/** The caller may have set its pipe or socket to answer at once (EAGAIN), which holds for whoever has got it from him too. */
async function whenReady(attempt: () => number): Promise<number> {
  for (;;)
    try {
      return attempt();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
}
