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
  const written = source ? await readStart(source, MAX_MESSAGE_BYTES) : '';
  if (written !== '') return written;
  const fallback = detail.labels[LABEL.terminationMessagePolicy] === 'FallbackToLogsOnError';
  if (!fallback || detail.exitCode === 0) return undefined;
  return (await tailOfLog(docker, detail.id)) || undefined;
}

async function readStart(path: string, maxBytes: number): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxBytes), 0, maxBytes, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } catch {
    // The pod's directory may be gone already; then there is no message.
    return '';
  }
}

async function tailOfLog(docker: Pick<DockerEngine, 'containerLogs'>, id: string): Promise<string> {
  const pieces: Buffer[] = [];
  try {
    for await (const { data } of docker.containerLogs(id, { tail: MAX_LOG_LINES })) pieces.push(data);
  } catch {
    return '';
  }
  return Buffer.concat(pieces).subarray(-MAX_LOG_BYTES).toString('utf8');
}
