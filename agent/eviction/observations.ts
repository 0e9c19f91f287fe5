import type { FsStats, Summary } from '../stats/summary.ts';
import type { Signal } from './signals.ts';

/** How much of a signal's resource is left, in its unit; `time` is when that was read (RFC 3339). */
export interface Observation {
  readonly available: number;
  readonly capacity: number;
  readonly time: string;
}

/** What is not known has no entry, and starves nobody. */
export type Observations = ReadonlyMap<Signal, Observation>;

/** The signals' values by a summary (sheet §19). Pure. */
export function observe({ node }: Pick<Summary, 'node'>): Observations {
  const observations = new Map<Signal, Observation>();
  const set = (signal: Signal, available: number | undefined, capacity: number | undefined, time: string) => {
    if (available !== undefined && capacity !== undefined) observations.set(signal, { available, capacity, time });
  };
  const setMemory = (signal: Signal, memory: Summary['node']['memory']) => {
    if (memory?.availableBytes === undefined || memory.workingSetBytes === undefined) return;
    set(signal, memory.availableBytes, memory.availableBytes + memory.workingSetBytes, memory.time);
  };
  const setFs = (name: 'nodefs' | 'imagefs' | 'containerfs', fs: FsStats | undefined) => {
    if (!fs) return;
    set(`${name}.available`, fs.availableBytes, fs.capacityBytes, fs.time);
    set(`${name}.inodesFree`, fs.inodesFree, fs.inodes, fs.time);
  };
  setMemory('memory.available', node.memory);
  setMemory('allocatableMemory.available', node.systemContainers?.find(({ name }) => name === 'pods')?.memory);
  setFs('nodefs', node.fs);
  setFs('imagefs', node.runtime?.imageFs);
  setFs('containerfs', node.runtime?.containerFs);
  if (node.rlimit?.maxpid !== undefined && node.rlimit.curproc !== undefined)
    set('pid.available', node.rlimit.maxpid - node.rlimit.curproc, node.rlimit.maxpid, node.rlimit.time);
  return observations;
}
