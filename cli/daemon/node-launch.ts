import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/linux/exec.ts';
import { lastLines } from '../engine/private-engine.ts';
import { CHECKOUT, spawnDetached } from './launch.ts';
import { livingPid, stopProcess, writePidFile } from './pid-file.ts';
import { installUnit, removeUnit, systemdIsPid1, unitJournal } from './systemd.ts';

const UNIT = 'berth-node.service';
const STOP_TIMEOUT_MS = 20_000;

/** Files of a node that joined; its root directory is also the mark by which its daemon is known. */
export interface NodeFiles {
  rootDir: string;
  pid: string;
  log: string;
}

export const nodePid = ({ pid, rootDir }: NodeFiles): number | undefined => livingPid(pid, rootDir);

/** Starts `berth node` with these arguments: as a systemd unit where systemd is PID 1, else detached, with a pid file and a log file. */
export async function startNode(files: NodeFiles, args: readonly string[]): Promise<void> {
  if (systemdIsPid1()) return installUnit(UNIT, renderNodeUnit(unitText(), CHECKOUT, args));
  const pid = spawnDetached(['node', ...args], files.log);
  if (pid !== undefined) writePidFile(files.pid, pid);
}

/** Stops the daemon; pods and rules stay. Idempotent. */
export async function stopNode(files: NodeFiles): Promise<void> {
  if (systemdIsPid1()) await removeUnit(UNIT);
  await stopProcess(files.pid, files.rootDir, STOP_TIMEOUT_MS);
}

/** Whether the daemon still runs, as far as can be seen from here. */
export async function nodeRuns(files: NodeFiles): Promise<boolean> {
  if (!systemdIsPid1()) return nodePid(files) !== undefined;
  const state = await run('systemctl', ['show', UNIT, '-p', 'ActiveState', '--value']);
  return ['active', 'activating'].includes(state.stdout.trim());
}

/** Where its log is and how it ends, for a message. */
export async function nodeLogEnd(files: NodeFiles, lines: number): Promise<string> {
  if (!systemdIsPid1()) return `The end of ${files.log}:\n${lastLines(files.log, lines)}`;
  return `The end of 'journalctl -u ${UNIT}':\n${await unitJournal(lines, UNIT).catch(() => '(no journal)')}`;
}

const unitText = () => readFileSync(join(CHECKOUT, 'systemd', UNIT), 'utf8');

/** The unit with this checkout's launcher and these arguments in ExecStart. Pure. */
export function renderNodeUnit(text: string, checkout: string, args: readonly string[]): string {
  // In unit files % begins a specifier, and words are split at blanks unless they are quoted.
  const words = [join(checkout, 'berth'), 'node', ...args].map((word) => JSON.stringify(word.replaceAll('%', '%%')));
  return text.replace(/^ExecStart=.*$/m, () => `ExecStart=${words.join(' ')}`);
}
