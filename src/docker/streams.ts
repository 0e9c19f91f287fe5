import type { Readable } from 'node:stream';
import type { LogChunk } from './engine.ts';
import { DockerError } from './errors.ts';

/** The stream of a container with a terminal, which is not framed. */
export async function* plain(stream: Readable): AsyncGenerator<LogChunk> {
  for await (const data of stream) yield { stream: 'stdout', data };
}

/** All output, cut at `maxBytes`; the rest is read and dropped, so that the sender is never held up. */
export async function collect(chunks: AsyncIterable<LogChunk>, maxBytes: number): Promise<Buffer> {
  const kept: Buffer[] = [];
  let size = 0;
  for await (const { data } of chunks) {
    if (size < maxBytes) kept.push(data.subarray(0, maxBytes - size));
    size += data.length;
  }
  return Buffer.concat(kept);
}

/** Passes items on until the signal aborts (then throws its reason) or the stream is torn (a DockerError); the connection is closed in any case. */
export async function* untilAborted<T>(
  operation: string,
  source: AsyncIterable<T>,
  stream: Readable,
  signal?: AbortSignal,
): AsyncGenerator<T> {
  const abort = () => stream.destroy();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    signal?.throwIfAborted();
    yield* source;
    // A stream that was torn down may also look like one that came to its end.
    signal?.throwIfAborted();
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof DockerError) throw error;
    const why = error instanceof Error ? error.message : error;
    throw new DockerError(operation, 'unreachable', `the Docker Engine's stream broke off: ${why}`, undefined, error);
  } finally {
    signal?.removeEventListener('abort', abort);
    stream.destroy();
  }
}
