/**
 * The process of BIRD. It is nobody's child: when the overlay ends or is updated, sessions and traffic go on, and the next start finds
 * it by its control socket.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ExecError, findProgram, type run } from '../../../src/linux/exec.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import { CONTROL_SOCKET, MAIN_FILE, PID_FILE } from './bird-config.ts';
import { type BirdControl, openBirdControl } from './control-socket.ts';

export interface BirdDaemon {
  /** The version, such as `2.0.12`. @throws ExplainedError when there is none, or one that is too old. */
  version(): Promise<string>;
  /** A connection to the one that runs; undefined when none does. */
  find(): Promise<BirdControl | undefined>;
  /** Starts one with the written configuration. `recovers`: its predecessor's routes stay until the others have told theirs. @throws ExplainedError with BIRD's words. */
  start(how: { recovers: boolean }): Promise<BirdControl>;
  /** Ends the one that runs and waits for its end; its routes stay. Idempotent. */
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 5_000;
const STOP_TIMEOUT_MS = 5_000;
const POLL_MS = 20;

export function createBirdDaemon(
  options: { program: string; directory: string },
  deps: { run: typeof run; clock: Clock; hostNetns?: string },
): BirdDaemon {
  const { program, directory } = options;
  const { clock } = deps;
  const at = (name: string) => join(directory, name);

  async function find(): Promise<BirdControl | undefined> {
    try {
      return await openBirdControl(at(CONTROL_SOCKET), clock);
    } catch (error) {
      if (['ENOENT', 'ECONNREFUSED'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
      throw error;
    }
  }

  /** undefined when it has ended. A pid may be another program's by now: its name is looked at too. */
  function livingPid(): number | undefined {
    try {
      const pid = Number(readFileSync(at(PID_FILE), 'utf8').trim());
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return command.includes(at(CONTROL_SOCKET)) ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  async function waitFor<T>(
    what: () => Promise<T | undefined> | T | undefined,
    timeoutMs: number,
  ): Promise<T | undefined> {
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    for (;;) {
      const value = await what();
      if (value !== undefined || clock.monotonicMs() > deadlineMs) return value;
      await clock.sleep(POLL_MS);
    }
  }

  async function stop(): Promise<void> {
    const pid = livingPid();
    if (pid === undefined) return;
    const isGone = () => (livingPid() === undefined ? true : undefined);
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      kill(pid, signal);
      if (await waitFor(isGone, STOP_TIMEOUT_MS)) return;
    }
    throw new Error(`bird (process ${pid}) does not end`);
  }

  return {
    async version() {
      let path: string;
      try {
        path = findProgram(program);
      } catch (error) {
        throw new ExplainedError(
          `backend bgp: ${program} is not installed: apt-get install bird2, or name it with Backend.BirdProgram`,
          { cause: error },
        );
      }
      const { stdout, stderr } = await deps.run(path, ['--version']);
      const version = /BIRD version (\S+)/.exec(`${stdout}${stderr}`)?.[1];
      if (version === undefined || Number.parseInt(version, 10) < 2)
        throw new ExplainedError(
          `backend bgp: ${path} is BIRD ${version ?? 'of an unknown version'}; 2.0 or newer is needed`,
        );
      return version;
    },

    find,

    async start({ recovers }) {
      // One that hangs without answering would keep port and socket.
      await stop();
      rmSync(at(CONTROL_SOCKET), { force: true });
      const args = ['-c', at(MAIN_FILE), '-s', at(CONTROL_SOCKET), '-P', at(PID_FILE), ...(recovers ? ['-R'] : [])];
      try {
        await deps.run(program, args, { netns: deps.hostNetns, timeoutMs: START_TIMEOUT_MS });
      } catch (error) {
        if (!(error instanceof ExecError)) throw error;
        throw new ExplainedError(`backend bgp: bird does not start: ${error.stderr || error.message}`, {
          cause: error,
        });
      }
      const control = await waitFor(find, START_TIMEOUT_MS);
      if (!control) throw new ExplainedError(`backend bgp: bird has started and ended; its log is in ${directory}`);
      return control;
    },

    stop,
  };
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
