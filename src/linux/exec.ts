import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/**
 * Where programs are looked for, in this order. PATH is not consulted: under npm it begins with
 * `node_modules/.bin`, where a test tool ships a bin named `nft` that shadows the real one.
 */
export const PROGRAM_DIRECTORIES: readonly string[] = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];

const DEFAULT_TIMEOUT_MS = 30_000;
const STDERR_LIMIT_BYTES = 64 * 1024;
const STDOUT_LIMIT_BYTES = 256 * 1024 * 1024;

export interface RunOptions {
  /** Written to stdin, which is then closed. Without it stdin is empty. A stream or generator is written piece by piece. */
  input?: string | Uint8Array | AsyncIterable<string | Uint8Array>;
  /** The program and its children get SIGKILL after this long. Default 30 s. */
  timeoutMs?: number;
  /** Aborting kills the program; `run` then rejects with the signal's reason. */
  signal?: AbortSignal;
  /** The whole environment, beside PATH and LC_ALL=C, which are always set. Nothing is inherited. */
  env?: Record<string, string>;
  /** Path of a network namespace (`/proc/<pid>/ns/net`, `/run/netns/<name>`) in which the program runs, by nsenter. */
  netns?: string;
  cwd?: string;
  /** Exit codes that are results rather than errors. Default: only 0. */
  okCodes?: readonly number[];
}

export interface RunResult {
  stdout: string;
  /** The last 64 KiB. */
  stderr: string;
  code: number;
}

/** A program that could not be started, was killed, or exited with a code that the caller did not expect. */
export class ExecError extends Error {
  override readonly name = 'ExecError';
  readonly program: string;
  readonly args: readonly string[];
  /** Exit code; undefined when the program was killed or never ran. */
  readonly code: number | undefined;
  readonly killedBy: NodeJS.Signals | undefined;
  readonly stdout: string;
  readonly stderr: string;

  constructor(
    what: string,
    details: {
      program: string;
      args: readonly string[];
      code?: number;
      killedBy?: NodeJS.Signals;
      stdout?: string;
      stderr?: string;
      cause?: unknown;
    },
  ) {
    const stderr = details.stderr?.trim() ?? '';
    const command = [details.program, ...details.args].join(' ').slice(0, 300);
    super(`${command}: ${what}${stderr ? `: ${stderr.slice(-2000)}` : ''}`, { cause: details.cause });
    this.program = details.program;
    this.args = details.args;
    this.code = details.code;
    this.killedBy = details.killedBy;
    this.stdout = details.stdout ?? '';
    this.stderr = stderr;
  }
}

/**
 * The absolute path of a system program.
 * @throws ExecError when no directory of PROGRAM_DIRECTORIES has it.
 */
export function findProgram(name: string): string {
  const path = lookUp(name);
  if (path === undefined)
    throw new ExecError(`not found in ${PROGRAM_DIRECTORIES.join(', ')}; install the package that ships it`, {
      program: name,
      args: [],
    });
  return path;
}

/** Whether a system program is installed. */
export function hasProgram(name: string): boolean {
  return lookUp(name) !== undefined;
}

const found = new Map<string, string>();

function lookUp(name: string): string | undefined {
  const known = found.get(name);
  if (known) return known;
  const candidates = isAbsolute(name) ? [name] : PROGRAM_DIRECTORIES.map((directory) => join(directory, name));
  const path = candidates.find(isExecutable);
  if (path) found.set(name, path);
  return path;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs a program to its end: the one door through which Berth starts processes that answer and exit.
 *
 * The child is the leader of a process group of its own, so that a Ctrl-C on the terminal does not tear an
 * iptables-restore apart in the middle, and so that a timeout reaches what the program itself has started.
 * @throws ExecError for a missing program, an unexpected exit code, a timeout, too much output; the signal's reason on abort.
 */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  options.signal?.throwIfAborted();
  const path = findProgram(program);
  const [file, argv] = options.netns
    ? [findProgram('nsenter'), [`--net=${options.netns}`, '--', path, ...args]]
    : [path, [...args]];
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const details = { program, args };

  const child = spawn(file, argv, {
    cwd: options.cwd,
    detached: true,
    env: { PATH: PROGRAM_DIRECTORIES.join(':'), LC_ALL: 'C', ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });

  const stdout: Buffer[] = [];
  let stdoutBytes = 0;
  let stderr = Buffer.alloc(0);
  let stopped: string | undefined;

  const stop = (why: string) => {
    stopped ??= why;
    killGroup(child.pid);
  };
  child.stdout!.on('data', (chunk: Buffer) => {
    stdoutBytes += chunk.length;
    if (stdoutBytes > STDOUT_LIMIT_BYTES) stop(`wrote more than ${STDOUT_LIMIT_BYTES} bytes`);
    else stdout.push(chunk);
  });
  child.stderr!.on('data', (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-STDERR_LIMIT_BYTES);
  });

  const timer = setTimeout(() => stop(`no end after ${timeoutMs} ms, killed`), timeoutMs);
  const onAbort = () => stop('aborted');
  options.signal?.addEventListener('abort', onAbort, { once: true });

  try {
    const ended = new Promise<{ code: number | null; killedBy: NodeJS.Signals | null }>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, killedBy) => resolve({ code, killedBy }));
    });
    const fed = feed(child.stdin, options.input);
    const { code, killedBy } = await ended;
    const inputError = await fed;
    options.signal?.throwIfAborted();
    const output = { stdout: Buffer.concat(stdout).toString('utf8'), stderr: stderr.toString('utf8') };
    if (stopped) throw new ExecError(stopped, { ...details, ...output, killedBy: killedBy ?? undefined });
    if (code === null) throw new ExecError(`killed by ${killedBy}`, { ...details, ...output, killedBy: killedBy! });
    if (!(options.okCodes ?? [0]).includes(code))
      throw new ExecError(`exit code ${code}`, { ...details, ...output, code });
    if (inputError) throw new ExecError('its input failed', { ...details, ...output, code, cause: inputError });
    return { ...output, code };
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) throw new ExecError(error.message, { ...details, cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/** Writes the input. A program may exit without reading all of it: EPIPE is not an error of its own. */
async function feed(stdin: NodeJS.WritableStream | null, input: RunOptions['input']): Promise<unknown> {
  if (!stdin || input === undefined) return undefined;
  const source = typeof input === 'string' || input instanceof Uint8Array ? [input] : input;
  try {
    await pipeline(source, stdin);
    return undefined;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === 'EPIPE' || code === 'ERR_STREAM_PREMATURE_CLOSE' ? undefined : error;
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended in the meantime.
  }
}
