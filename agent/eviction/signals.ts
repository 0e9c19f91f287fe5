/** What the node may run short of, as KubeletConfiguration names it. */
export const SIGNALS = [
  'memory.available',
  'allocatableMemory.available',
  'nodefs.available',
  'nodefs.inodesFree',
  'imagefs.available',
  'imagefs.inodesFree',
  'containerfs.available',
  'containerfs.inodesFree',
  'pid.available',
] as const;

export type Signal = (typeof SIGNALS)[number];
export type PressureCondition = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure';
/** As messages and the metadata of events name what is short. */
export type StarvedResource = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids';

export function isSignal(name: string): name is Signal {
  return (SIGNALS as readonly string[]).includes(name);
}

/** The condition of the node that a signal below its threshold sets. */
export function conditionOf(signal: Signal): PressureCondition {
  if (isMemorySignal(signal)) return 'MemoryPressure';
  return signal === 'pid.available' ? 'PIDPressure' : 'DiskPressure';
}

export function resourceOf(signal: Signal): StarvedResource {
  if (isMemorySignal(signal)) return 'memory';
  if (signal === 'pid.available') return 'pids';
  return signal.endsWith('.inodesFree') ? 'inodes' : 'ephemeral-storage';
}

export function isMemorySignal(signal: Signal): boolean {
  return signal === 'memory.available' || signal === 'allocatableMemory.available';
}
