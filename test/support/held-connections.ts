import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { findProgram } from '../../src/linux/exec.ts';

export interface HeldConnections {
  /** Ends them and tells how it went: bytes that came back, connections that were opened, and why some broke. */
  end(): Promise<{ exchanged: number; opened: number; lost: string[] }>;
}

/** Serves an echo in a namespace, until the test ends. */
export async function serveEcho(t: ExecutionContext, netns: string, port: number): Promise<void> {
  await start(t, netns, 'echo', `${port}`);
}

/** Keeps `count` connections in use from a namespace, and as many others coming and going. */
export async function holdConnections(
  t: ExecutionContext,
  netns: string,
  { host, port, count }: { host: string; port: number; count: number },
): Promise<HeldConnections> {
  const child = await start(t, netns, 'hold', host, `${port}`, `${count}`);
  return {
    async end() {
      child.send('end');
      const [result] = await once(child, 'message');
      return result;
    },
  };
}

async function start(t: ExecutionContext, netns: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(
    findProgram('nsenter'),
    [`--net=${netns}`, '--', process.execPath, join(import.meta.dirname, 'held-connections-child.ts'), ...args],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  t.teardown(() => {
    child.kill('SIGKILL');
  });
  await once(child, 'message');
  return child;
}
