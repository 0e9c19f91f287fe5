import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { argumentsOf, livingPid } from '../daemon/pid-file.ts';
import type { DnsFlags } from './dns-flags.ts';
import { renderDnsArguments } from './dns-flags.ts';

/** How soon a dead server is missed. */
const SUPERVISE_MS = 250;
const RESTART_MS = 1000;

/** The program that runs now, with the options that its launcher gave Node. */
export interface Program {
  execPath: string;
  execArgv: readonly string[];
  file: string;
}

/**
 * The cluster's DNS server as a process beside the daemon, like the Engine: it outlives the daemon, so that a restart of Berth drops no
 * query, and the next daemon takes it over by pid file. One with other arguments or of another build is succeeded: the new one listens on
 * the same port before it ends the old one (docs/adr/0011-cluster-dns.md).
 */
export function createDnsProcess(
  options: { flags: Omit<DnsFlags, 'generation'>; program: Program; logFile: string },
  { clock, log }: { clock: Clock; log: Logger },
) {
  const { flags, program, logFile } = options;
  let starting: ChildProcess | undefined;

  /** The living server is one that we would start now. */
  function isCurrent(pid: number, wanted: readonly string[]): boolean {
    const its = argumentsOf(pid);
    return wanted.every((argument) => its.includes(argument));
  }

  function start(args: readonly string[]): void {
    mkdirSync(dirname(flags.pidFile), { recursive: true });
    mkdirSync(dirname(logFile), { recursive: true });
    const output = openSync(logFile, 'a', 0o640);
    const child = spawn(program.execPath, [...program.execArgv, program.file, ...args], {
      detached: true,
      stdio: ['ignore', output, output],
      cwd: '/',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', MALLOC_ARENA_MAX: '1' },
    });
    closeSync(output);
    child.unref();
    const forget = () => {
      if (starting === child) starting = undefined;
    };
    child.on('error', (error) => {
      forget();
      log.error({ err: error }, 'the DNS server could not be started');
    });
    child.on('exit', (code, signal) => {
      if (starting === child) log.error({ code, signal, logFile }, 'the DNS server ended before it answered');
      forget();
    });
    starting = child;
    log.info({ pid: child.pid }, 'started a DNS server');
  }

  return {
    /** Keeps a server running until aborted, and leaves it running then. */
    async run(signal: AbortSignal): Promise<void> {
      const args = renderDnsArguments({ ...flags, generation: buildOf(program.file) });
      let pauseMs = 0;
      while (!signal.aborted) {
        const pid = livingPid(flags.pidFile, flags.pidFile);
        if (pid !== undefined && starting?.pid === pid) starting = undefined;
        if (starting === undefined && (pid === undefined || !isCurrent(pid, args))) {
          if (pid === undefined && pauseMs > 0) log.warn('no DNS server is running; starting one');
          start(args);
          pauseMs = RESTART_MS;
        } else pauseMs = SUPERVISE_MS;
        await clock.sleep(pauseMs, signal).catch(() => {});
      }
    },
  };
}

/** Tells one build of the program from another. */
function buildOf(file: string): string {
  const { mtimeMs, size } = statSync(file);
  return `${Math.round(mtimeMs)}-${size}`;
}
