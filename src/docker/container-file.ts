import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { firstTarEntry } from './tar.ts';

const MAX_LINKS = 8;
/** What the files that we look for never reach. */
const MAX_BYTES = 4 << 20;

/**
 * A regular file out of the archives that the Engine makes of a container's paths; a link is an archive of the link.
 * @param archiveOf the archive of a path; undefined when there is none
 */
export async function readFileOfArchives(
  path: string,
  archiveOf: (path: string) => Promise<Readable | undefined>,
): Promise<Buffer | undefined> {
  let at = path;
  for (let links = 0; links <= MAX_LINKS; links++) {
    const stream = await archiveOf(at);
    const entry = stream && firstTarEntry(await wholeOf(stream, at));
    if (entry?.type !== 'link') return entry?.type === 'file' ? entry.data : undefined;
    at = posix.resolve(posix.dirname(at), entry.target);
  }
  throw new Error(`${path}: more than ${MAX_LINKS} links`);
}

async function wholeOf(stream: Readable, path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > MAX_BYTES) throw new Error(`${path}: larger than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
