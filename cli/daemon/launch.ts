import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { lastLines } from '../engine/private-engine.ts';
import { pathsOf, type Settings } from '../settings.ts';
import { livingPid, stopProcess } from './pid-file.ts';
import { removeUnit, startUnit, systemdIsPid1, unitJournal } from './systemd.ts';

export const CHECKOUT = dirname(dirname(import.meta.dirname));
const STOP_TIMEOUT_MS = 20_000;

/** The daemon's pid while it lives. Its arguments name the root directory, so another cluster's daemon is never taken for ours. */
export function daemonPid(settings: Settings): number | undefined {
  return livingPid(pathsOf(settings).pid, settings.rootDir);
}

/** Starts the all-in-one daemon: as a systemd unit where systemd is PID 1, else detached, with a pid file and a log file. */
export async function startDaemon(settings: Settings): Promise<void> {
  if (systemdIsPid1()) return startUnit(CHECKOUT, settings.rootDir);
  spawnDetached(['run', '--root-dir', settings.rootDir], pathsOf(settings).log);
}

/** Runs `berth` in a session of its own and without a terminal: closing the shell that said `up` must not end it. */
export function spawnDetached(args: readonly string[], log: string): number | undefined {
  mkdirSync(dirname(log), { recursive: true });
  const logFile = openSync(log, 'a', 0o640);
  const child = spawn(join(CHECKOUT, 'berth'), args, { detached: true, stdio: ['ignore', logFile, logFile], cwd: '/' });
  child.unref();
  closeSync(logFile);
  return child.pid;
}

/** Stops the daemon and leaves pods, rules and the Engine as they are. Idempotent. */
export async function stopDaemon(settings: Settings): Promise<void> {
  if (systemdIsPid1()) await removeUnit();
  await stopProcess(pathsOf(settings).pid, settings.rootDir, STOP_TIMEOUT_MS);
}

/** Where the daemon's log is and how it ends, for a message: a file, or the journal where systemd runs the daemon. */
export async function daemonLogEnd(settings: Settings, lines: number): Promise<string> {
  const { log } = pathsOf(settings);
  if (!systemdIsPid1()) return `The end of ${log}:\n${lastLines(log, lines)}`;
  return `The end of 'journalctl -u berth.service':\n${await unitJournal(lines).catch(() => '(no journal)')}`;
}
