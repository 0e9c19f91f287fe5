import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { DockerError, kindOfStatus } from './errors.ts';
import { createTransport } from './transport.ts';

/** What goes to and comes from a process in a container: raw with a terminal, else framed by the Engine (see `demultiplex`). */
export interface ContainerSession {
  /** `end()` closes the process's stdin only. Ends when the process has ended. */
  stream: Duplex;
  /** Characters. Of a session without a terminal: does nothing. */
  resize(size: Size): Promise<void>;
  /** Once the stream has ended. */
  exitCode(): Promise<number>;
  /** Ends the process (of an exec; an attached container runs on) and the connection. Idempotent. */
  close(): Promise<void>;
}

interface Size {
  width: number;
  height: number;
}

export interface SessionOptions {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  tty: boolean;
}

/** Interactive processes. Failures are DockerErrors. */
export interface ContainerTerminals {
  exec(id: string, command: string[], options: SessionOptions, signal?: AbortSignal): Promise<ContainerSession>;
  attach(id: string, options: SessionOptions, signal?: AbortSignal): Promise<ContainerSession>;
  close(): void;
}

const API_VERSION = '1.41';
/** The Engine notes the exit code a moment after it closed the stream. */
const EXIT_CODE_TRIES = 40;
const EXIT_CODE_PAUSE_MS = 25;
const HANGUP_MS = 1000;
/** How long a process may take to appear whose client has left. */
const LATE_START_TRIES = 120;
const LATE_START_PAUSE_MS = 250;
/** The Engine hands over the stream before there is a process: a size that comes so early is refused. */
const RESIZE_TRIES = 20;
const RESIZE_PAUSE_MS = 50;

/**
 * Exec and attach with stdin. The Engine hands over the connection itself ("hijacks" it), which its ordinary client cannot do.
 * @param endpoint `unix:///run/docker.sock` or `tcp://127.0.0.1:2375`
 */
export function connectTerminals(endpoint: string): ContainerTerminals {
  const http = createTransport(endpoint, API_VERSION);
  const target = parseEndpoint(endpoint);
  const short = (id: string) => id.slice(0, 12);
  const container = (id: string) => `/containers/${encodeURIComponent(id)}`;

  /** POSTs and takes the connection over. */
  function hijack(operation: string, path: string, body: object, signal?: AbortSignal): Promise<Duplex> {
    const text = JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        ...target,
        method: 'POST',
        path: `/v${http.apiVersion()}${path}`,
        headers: {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(text),
          Connection: 'Upgrade',
          Upgrade: 'tcp',
        },
        signal,
      });
      request.on('upgrade', (_, socket, head) => {
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      request.on('response', (response) => {
        let answer = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          answer += chunk;
        });
        response.on('end', () => {
          const status = response.statusCode ?? 500;
          reject(new DockerError(operation, kindOfStatus(status), messageOf(answer), status));
        });
      });
      request.on('error', (error) =>
        reject(
          new DockerError(operation, 'unreachable', `Docker Engine at ${endpoint} does not answer: ${error.message}`),
        ),
      );
      request.end(text);
    });
  }

  /**
   * The newest size wins, one call at a time: who sends sizes without end must not fill the Engine with calls. The process may have ended in
   * the meantime; a size is never worth an error.
   */
  function resizer(path: string, tty: boolean): ContainerSession['resize'] {
    let newest: Size | undefined;
    let isBusy = false;
    return async (size) => {
      if (!tty) return;
      newest = size;
      if (isBusy) return;
      isBusy = true;
      for (let tries = 0; newest && tries < RESIZE_TRIES; tries++) {
        const wanted: Size = newest;
        const call = { operation: 'resize terminal', method: 'POST', path: `${path}/resize` } as const;
        try {
          await http.json({ ...call, query: { w: wanted.width, h: wanted.height } });
          tries = -1;
          if (newest === wanted) newest = undefined;
        } catch {
          await sleep(RESIZE_PAUSE_MS);
        }
      }
      newest = undefined;
      isBusy = false;
    };
  }

  interface ExecState {
    Running: boolean;
    ExitCode: number | null;
    Pid: number;
  }

  return {
    async exec(id, command, options, signal) {
      const { Id: execId } = await http.json<{ Id: string }>({
        operation: `exec in container ${short(id)}`,
        method: 'POST',
        path: `${container(id)}/exec`,
        body: {
          AttachStdin: options.stdin,
          AttachStdout: options.stdout,
          AttachStderr: options.stderr,
          Tty: options.tty,
          Cmd: command,
        },
        signal,
      });
      const path = `/exec/${execId}`;
      const operation = `exec in container ${short(id)}`;
      const state = () =>
        http.json<ExecState>({ operation: `inspect ${operation}`, method: 'GET', path: `${path}/json` });
      /**
       * Tells the process that its terminal is gone, then ends it. The Engine may only be about to start it, since it hands over the stream
       * before: nobody would ever end that process.
       */
      async function endProcess(): Promise<void> {
        let now = await state();
        // `Running` is said before there is a process: its Pid is 0 as long.
        const isComing = () => now.ExitCode === null && now.Pid === 0;
        for (let tries = 1; isComing() && tries < LATE_START_TRIES; tries++) {
          await sleep(LATE_START_PAUSE_MS);
          now = await state();
        }
        if (!now.Running) return;
        await signalProcess(now.Pid, id, 'SIGHUP');
        await sleep(HANGUP_MS);
        if ((await state()).Running) await signalProcess(now.Pid, id, 'SIGKILL');
      }
      const stream = await hijack(operation, `${path}/start`, { Detach: false, Tty: options.tty }, signal).catch(
        (error: Error) => {
          if (signal?.aborted) endProcess().catch(() => undefined);
          throw error;
        },
      );
      return {
        stream,
        resize: resizer(path, options.tty),
        async exitCode() {
          for (let tries = 1; ; tries++) {
            const { Running, ExitCode } = await state();
            if (!Running && ExitCode !== null) return ExitCode;
            if (tries >= EXIT_CODE_TRIES)
              throw new DockerError(
                operation,
                'server',
                'its output has ended, but the Engine does not tell how it did',
              );
            await sleep(EXIT_CODE_PAUSE_MS);
          }
        },
        async close() {
          stream.destroy();
          await endProcess();
        },
      };
    },
    async attach(id, options, signal) {
      const { stdin, stdout, stderr } = options;
      const query = new URLSearchParams({
        stream: 'true',
        stdin: String(stdin),
        stdout: String(stdout),
        stderr: String(stderr),
      });
      const path = container(id);
      // A word over the ordinary way first: it settles which version of the API is spoken.
      await http.json({ operation: 'docker version', method: 'GET', path: '/version', signal });
      const stream = await hijack(`attach to container ${short(id)}`, `${path}/attach?${query}`, {}, signal);
      return {
        stream,
        resize: resizer(path, options.tty),
        async exitCode() {
          const inspected = await http.json<{ State: { ExitCode: number } }>({
            operation: `inspect container ${short(id)}`,
            method: 'GET',
            path: `${path}/json`,
          });
          return inspected.State.ExitCode;
        },
        close: async () => void stream.destroy(),
      };
    },
    close: () => http.close(),
  };
}

/** Only a process that /proc shows in that container: the Engine's pids may be those of another namespace. */
async function signalProcess(pid: number, containerId: string, signal: 'SIGHUP' | 'SIGKILL'): Promise<void> {
  if (pid <= 0) return;
  try {
    if ((await readFile(`/proc/${pid}/cgroup`, 'utf8')).includes(containerId)) process.kill(pid, signal);
  } catch {
    // It is gone.
  }
}

function messageOf(answer: string): string {
  try {
    return (JSON.parse(answer) as { message?: string }).message ?? answer;
  } catch {
    return answer.trim();
  }
}

function parseEndpoint(endpoint: string): { socketPath: string } | { host: string; port: string } {
  if (endpoint.startsWith('unix://')) return { socketPath: endpoint.slice('unix://'.length) };
  const { hostname, port } = new URL(endpoint);
  return { host: hostname, port };
}
