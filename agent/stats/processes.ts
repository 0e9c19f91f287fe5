import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { CgroupSampler } from '../../src/linux/cgroup/sampler.ts';
import { readKernelFile } from '../../src/linux/open-files.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { ContainerTarget } from './targets.ts';

export type TaskState = 'sleeping' | 'running' | 'stopped' | 'uninterruptible';

/** What the processes of one container have and do. */
export interface ProcessFigures {
  processes: number;
  fileDescriptors: number;
  sockets: number;
  /** Processes by what their first thread does. */
  states: Record<TaskState, number>;
  /** Soft limit of the first process; undefined: not limited, or it does not tell. */
  maxOpenFiles?: number | undefined;
}

export interface ProcessKeeper {
  of(containerId: string): ProcessFigures | undefined;
  /** Looks again when the last look is old; whoever asks does not wait for it. */
  refresh(targets: readonly ContainerTarget[]): void;
}

const PERIOD_MS = 60_000;
/** Descriptors of one process whose kind is looked at; a process with more has its sockets estimated from these. */
const MOST_LINKS = 256;

/**
 * Counts processes, descriptors and sockets. It takes a dozen system calls for each process, so it has a pace of its own; /proc never waits
 * for a disk, so it is done right here, a slice at a time.
 */
export function createProcessKeeper(
  options: { procRoot: string },
  { sampler, clock }: { sampler: Pick<CgroupSampler, 'processes'>; clock: Clock },
): ProcessKeeper {
  let known = new Map<string, ProcessFigures>();
  let running = false;
  let lookedMs: number | undefined;

  function* look(targets: readonly ContainerTarget[]): Generator<void, Map<string, ProcessFigures>> {
    const found = new Map<string, ProcessFigures>();
    for (const { id, path } of targets) {
      const figures = emptyFigures();
      const pids = sampler.processes(path).filter((pid) => pid > 0);
      for (const pid of pids) {
        countProcess(join(options.procRoot, String(pid)), figures);
        yield;
      }
      if (pids.length > 0) {
        figures.maxOpenFiles = readOpenFilesLimit(join(options.procRoot, String(pids[0]), 'limits'));
        found.set(id, figures);
      }
    }
    return found;
  }

  return {
    of: (containerId) => known.get(containerId),
    refresh(targets) {
      const nowMs = clock.monotonicMs();
      if (running || (lookedMs !== undefined && nowMs - lookedMs < PERIOD_MS)) return;
      running = true;
      lookedMs = nowMs;
      runInSlices(look(targets))
        .then((found) => {
          known = found;
        })
        // The next look may fare better; nothing hangs on these figures.
        .catch(() => {})
        .finally(() => {
          running = false;
        });
    },
  };
}

function emptyFigures(): ProcessFigures {
  const states = { sleeping: 0, running: 0, stopped: 0, uninterruptible: 0 };
  return { processes: 0, fileDescriptors: 0, sockets: 0, states };
}

function countProcess(directory: string, figures: ProcessFigures) {
  const stat = readKernelFile(join(directory, 'stat'));
  if (stat === undefined) return;
  figures.processes += 1;
  const state = stateOf(stat[stat.lastIndexOf(')') + 2] ?? '');
  if (state) figures.states[state] += 1;
  const descriptors = list(join(directory, 'fd'));
  figures.fileDescriptors += descriptors.length;
  const sampleOf = descriptors.slice(0, MOST_LINKS);
  const sockets = sampleOf.filter((fd) => readLink(join(directory, 'fd', fd)).startsWith('socket:')).length;
  if (sampleOf.length > 0) figures.sockets += Math.round((sockets * descriptors.length) / sampleOf.length);
}

/** As the kernel's cgroupstats count: idle kernel threads and zombies are none of these. */
function stateOf(letter: string): TaskState | undefined {
  if (letter === 'S') return 'sleeping';
  if (letter === 'R') return 'running';
  if (letter === 'T' || letter === 't') return 'stopped';
  if (letter === 'D') return 'uninterruptible';
  return undefined;
}

/** The soft limit of open files in /proc/<pid>/limits; undefined when there is none. */
export function readOpenFilesLimit(path: string): number | undefined {
  const limit = /^Max open files +(\d+)/m.exec(readKernelFile(path) ?? '')?.[1];
  return limit === undefined ? undefined : Number(limit);
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
