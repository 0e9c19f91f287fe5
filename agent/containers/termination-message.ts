import { open } from 'node:fs/promises';
import type { ContainerDetail, DockerEngine } from '../../src/docker/engine.ts';
import { LABEL } from './identity.ts';

/** Sheet §11. */
const MAX_MESSAGE_BYTES = 4096;
const MAX_LOG_LINES = 80;
const MAX_LOG_BYTES = 2048;

/** What an ended container left as its last words; the runtime's own error when it never started. */
export async function readTerminationMessage(
  docker: Pick<DockerEngine, 'containerLogs'>,
  detail: ContainerDetail,
): Promise<string | undefined> {
  if (detail.error) return detail.error;
  const path = detail.labels[LABEL.terminationMessagePath];
  const source = detail.mounts.find(({ destination }) => destination === path)?.source;
  const written = source ? await readEnd(source, MAX_MESSAGE_BYTES) : '';
  if (written !== '') return written;
  const fallback = detail.labels[LABEL.terminationMessagePolicy] === 'FallbackToLogsOnError';
  if (!fallback || detail.exitCode === 0) return undefined;
  return (await tailOfLog(docker, detail)) || undefined;
}

/** The last words are at the end: of a file that is too long its beginning is cut. */
async function readEnd(path: string, maxBytes: number): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxBytes), 0, maxBytes, Math.max(0, size - maxBytes));
    return wholeCharacters(buffer.subarray(0, bytesRead));
  } catch {
    // The pod's directory may be gone already; then there is no message.
    return '';
  }
}

/** Without the rest of a character whose beginning was cut. */
function wholeCharacters(bytes: Buffer): string {
  let start = 0;
  while (start < Math.min(3, bytes.length) && (bytes[start]! & 0xc0) === 0x80) start++;
  return bytes.toString('utf8', start);
}

async function tailOfLog(docker: Pick<DockerEngine, 'containerLogs'>, { id, tty }: ContainerDetail): Promise<string> {
  const pieces: Buffer[] = [];
  try {
    for await (const { data } of docker.containerLogs(id, { tail: MAX_LOG_LINES, tty })) pieces.push(data);
  } catch {
    return '';
  }
  return wholeCharacters(Buffer.concat(pieces).subarray(-MAX_LOG_BYTES));
}
