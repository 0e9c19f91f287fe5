import { CorruptCheckpointError, parseCheckpointJson } from '../checkpoints/checkpoint-file.ts';
import { otherPolicy } from '../checkpoints/checkpoint-policy.ts';
import { fnv32a, printGoInts, printGoMap } from '../checkpoints/go-hash.ts';

export const MEMORY_STATE_FILE = 'memory_manager_state';
const POLICY = 'Static';

/** One kind of memory of one NUMA node; bytes. The names are the checkpoint's. */
export interface MemoryTable {
  total: number;
  systemReserved: number;
  allocatable: number;
  reserved: number;
  free: number;
}

export interface NumaMemory {
  /** How many blocks use this node. */
  numberOfAssignments: number;
  /** By resource name: `memory`, `hugepages-2Mi`. */
  memoryMap: Record<string, MemoryTable>;
  /** The nodes with which it is used together; itself alone when it isn't. */
  cells: number[];
}

/** By node number. */
export type MachineMemory = Record<number, NumaMemory>;

/** So much of one kind of memory, from these nodes. */
export interface MemoryBlock {
  numaAffinity: number[];
  type: string;
  size: number;
}

export interface MemoryState {
  machine: MachineMemory;
  /** Pod UID → container → what it has. */
  readonly entries: Map<string, Map<string, MemoryBlock[]>>;
}

type Entries = Record<string, Record<string, MemoryBlock[]>>;

/** The file as the kubelet writes it. */
export function renderMemoryState(state: MemoryState): string {
  const entries = entriesOf(state);
  return JSON.stringify({
    policyName: POLICY,
    machineState: state.machine,
    ...(state.entries.size > 0 && { entries }),
    checksum: checksumOf(POLICY, state.machine, entries),
  });
}

/**
 * Reads the file. A checksum of 0 is not looked at: a file written by hand.
 * @throws CorruptCheckpointError; CheckpointError when another policy has written it.
 */
export function parseMemoryState(text: string, path: string): MemoryState {
  const { policyName, machineState, entries = {}, checksum } = parseCheckpointJson(text);
  if (typeof policyName !== 'string' || !isMachine(machineState) || !isEntries(entries))
    throw new CorruptCheckpointError('it does not hold a policy, the memory of NUMA nodes and blocks of containers');
  const expected = checksumOf(policyName, machineState, entries);
  if (typeof checksum !== 'number' || (checksum !== 0 && checksum !== expected))
    throw new CorruptCheckpointError(`its checksum is ${JSON.stringify(checksum)}, its content has ${expected}`);
  if (policyName !== POLICY) throw otherPolicy(path, POLICY, policyName);
  return {
    machine: machineState,
    entries: new Map(Object.entries(entries).map(([uid, containers]) => [uid, new Map(Object.entries(containers))])),
  };
}

function checksumOf(policyName: string, machine: MachineMemory, entries: Entries): number {
  const table = ({ total, systemReserved, allocatable, reserved, free }: MemoryTable) =>
    `<*>{TotalMemSize:(uint64)${total} SystemReserved:(uint64)${systemReserved} Allocatable:(uint64)${allocatable} Reserved:(uint64)${reserved} Free:(uint64)${free}}`;
  const nodes = Object.entries(machine).map(([id, { numberOfAssignments, memoryMap, cells }]) => {
    const tables = printGoMap(Object.entries(memoryMap).map(([type, one]) => [type, table(one)]));
    return [
      Number(id),
      `<*>{NumberOfAssignments:(int)${numberOfAssignments} MemoryMap:(map[v1.ResourceName]*state.MemoryTable)${tables} Cells:${printGoInts(cells)}}`,
    ] as const;
  });
  const block = ({ numaAffinity, type, size }: MemoryBlock) =>
    `{NUMAAffinity:${printGoInts(numaAffinity)} Type:(v1.ResourceName)${type} Size:(uint64)${size}}`;
  const assigned = Object.entries(entries).map(
    ([uid, containers]) =>
      [
        uid,
        printGoMap(Object.entries(containers).map(([name, blocks]) => [name, `[${blocks.map(block).join(' ')}]`])),
      ] as const,
  );
  return fnv32a(
    `(*state.MemoryManagerCheckpoint){PolicyName:(string)${policyName} MachineState:(state.NUMANodeMap)${printGoMap(nodes)} Entries:(state.ContainerMemoryAssignments)${printGoMap(assigned)} Checksum:(checksum.Checksum)0}`,
  );
}

function entriesOf(state: MemoryState): Entries {
  return Object.fromEntries([...state.entries].map(([uid, containers]) => [uid, Object.fromEntries(containers)]));
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isCounts = (value: unknown): value is number[] => Array.isArray(value) && value.every(isCount);
const valuesOf = (value: unknown): unknown[] | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.values(value) : undefined;
const isMapOf = (value: unknown, isOne: (one: unknown) => boolean) => valuesOf(value)?.every(isOne) ?? false;

function isMachine(value: unknown): value is MachineMemory {
  const isTable = (one: unknown) => {
    const { total, systemReserved, allocatable, reserved, free } = (one ?? {}) as MemoryTable;
    return [total, systemReserved, allocatable, reserved, free].every(isCount);
  };
  return isMapOf(value, (one) => {
    const { numberOfAssignments, memoryMap, cells } = (one ?? {}) as NumaMemory;
    return isCount(numberOfAssignments) && isCounts(cells) && isMapOf(memoryMap, isTable);
  });
}

function isEntries(value: unknown): value is Entries {
  const isBlock = (one: unknown) => {
    const { numaAffinity, type, size } = (one ?? {}) as MemoryBlock;
    return isCounts(numaAffinity) && typeof type === 'string' && isCount(size);
  };
  return isMapOf(value, (containers) =>
    isMapOf(containers, (blocks) => Array.isArray(blocks) && blocks.every(isBlock)),
  );
}
