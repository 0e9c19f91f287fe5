import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnDetached } from '../daemon/launch.ts';
import { livingPid, processesWith, signalProcess, stopProcess } from '../daemon/pid-file.ts';
import { removeCgroupBranch } from '../hosts/cgroup-branch.ts';
import type { Settings } from '../settings.ts';
import { cgroupBranchOf, nodePathsOf, readRecords } from './records.ts';
import { ensureSwitch } from './switch.ts';

const STOP_TIMEOUT_MS = 10_000;
const POLL_MS = 20;

/** The argument by which a node's keeper is known among processes: its folder, which no other node has. */
const markOf = (settings: Settings, name: string) => nodePathsOf(settings, name).folder;

/** The pid of the process that keeps a node, while it lives. */
export function keeperPid(settings: Settings, name: string): number | undefined {
  return livingPid(nodePathsOf(settings, name).pid, markOf(settings, name));
}

/** Also one that has just begun, and has no pid file yet. */
export function keeperLives(settings: Settings, name: string): boolean {
  return processesWith(markOf(settings, name)).length > 0;
}

/** Starts the keepers of all nodes that are to run and don't, and makes the switch between them. */
export async function startKeepers(settings: Settings): Promise<void> {
  const missing = readRecords(settings).filter(({ name, runs }) => runs && !keeperLives(settings, name));
  if (missing.length > 0) await ensureSwitch(settings);
  for (const { name } of missing)
    spawnDetached(['node', 'keep', markOf(settings, name)], nodePathsOf(settings, name).log);
}

/** Ends a node as if its power were cut. Idempotent. */
export async function stopKeeper(settings: Settings, name: string): Promise<void> {
  const mark = markOf(settings, name);
  await stopProcess(nodePathsOf(settings, name).pid, mark, STOP_TIMEOUT_MS);
  // One that was just starting has no pid file yet.
  for (const pid of processesWith(mark)) signalProcess(pid, 'SIGKILL');
  while (processesWith(mark).length > 0) await sleep(POLL_MS);
  // One that was killed could not.
  await removeCgroupBranch(cgroupBranchOf(name));
}

/** Wall time in ms at which the keeper that lives was started; undefined when none does (or has just begun). */
export function keeperStartedMs(settings: Settings, name: string): number | undefined {
  if (keeperPid(settings, name) === undefined) return undefined;
  return statSync(nodePathsOf(settings, name).pid, { throwIfNoEntry: false })?.mtimeMs;
}
