import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { demultiplex } from '../../src/docker/frames.ts';
import type { ContainerSession } from '../../src/docker/terminals.ts';
import type { Status } from '../../src/kube/types.ts';
import { type CommandStreams, exitStatus, SUCCESS } from '../../src/streaming/command/streams.ts';

/**
 * Joins a process in a container with a client, until the process has ended or the client is gone; then the process is ended too.
 * Nothing is held but what is on its way: whoever is slow slows the other end.
 */
export async function runSession(
  session: ContainerSession,
  client: CommandStreams,
  { tty, hasExitCode, passesEndOfInput }: { tty: boolean; hasExitCode: boolean; passesEndOfInput: boolean },
): Promise<Status> {
  const leave = () => void session.close().catch(() => undefined);
  client.gone.addEventListener('abort', leave, { once: true });
  if (client.gone.aborted) leave();
  client.onResize((size) => void session.resize(size));
  // The end of its input is the process's to notice; a process that no longer reads is no failure.
  client.stdin?.on('error', () => {});
  session.stream.on('error', () => {});
  // Where a container's input goes on after this client, the Engine would take its end for the client's leave, and cut the output.
  client.stdin?.pipe(session.stream, { end: passesEndOfInput });
  try {
    if (tty && client.stdout) await pipeline(session.stream, client.stdout, { end: false });
    else
      for await (const { stream, data } of demultiplex(session.stream))
        await write(stream === 'stdout' ? client.stdout : client.stderr, data, client.gone);
  } catch (error) {
    client.gone.throwIfAborted();
    throw error;
  }
  return hasExitCode ? exitStatus(await session.exitCode()) : SUCCESS;
}

async function write(to: Writable | undefined, data: Buffer, gone: AbortSignal): Promise<void> {
  if (!to || to.destroyed || to.write(data)) return;
  await new Promise<void>((resolve) => {
    const go = () => {
      to.off('drain', go);
      to.off('close', go);
      gone.removeEventListener('abort', go);
      resolve();
    };
    to.once('drain', go);
    to.once('close', go);
    gone.addEventListener('abort', go, { once: true });
  });
}
