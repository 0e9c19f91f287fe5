import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { findProgram } from '../../src/linux/exec.ts';

/** `tcp` and `udp` ports on which a peer answers "<name> <address of the caller>". */
export interface ServeRequest {
  name: string;
  tcp?: number;
  udp?: number;
}

export interface AskRequest {
  protocol: 'tcp' | 'udp';
  host: string;
  port: number;
  /** A source port of one's own choice, for conntrack. */
  localPort?: number;
  /** How long what may stay without an answer is waited for; long, unless said. */
  timeoutMs?: number | undefined;
}

/** A process inside a network namespace that serves and asks. */
export interface NetPeer {
  serve(request: ServeRequest): Promise<void>;
  /** The answer, or the error code: `ECONNREFUSED`, `TIMEOUT`. */
  ask(request: AskRequest): Promise<string>;
}

/** Starts a peer in a namespace; it ends with the test. */
export async function startPeer(t: ExecutionContext, netns: string): Promise<NetPeer> {
  const child: ChildProcess = spawn(
    findProgram('nsenter'),
    [`--net=${netns}`, '--', process.execPath, join(import.meta.dirname, 'net-peer-child.ts')],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  t.teardown(() => {
    child.kill('SIGKILL');
  });
  let nextId = 0;
  const waiting = new Map<number, (answer: string) => void>();
  child.on('message', (message: { id: number; answer: string }) => {
    waiting.get(message.id)?.(message.answer);
    waiting.delete(message.id);
  });
  const call = (request: object): Promise<string> => {
    const id = nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    waiting.set(id, resolve);
    child.once('exit', () => reject(new Error(`the peer in ${netns} has ended`)));
    child.setMaxListeners(0);
    child.send({ id, ...request });
    return promise;
  };
  return {
    async serve(request) {
      await call({ serve: request });
    },
    ask: (request) => call({ ask: request }),
  };
}
