import { bytes, canonicalQuantity, cpuMillis, formatBytes, formatCpuMillis } from '../../src/kube/quantity.ts';
import { amountOf, parseThresholdValue } from '../eviction/thresholds.ts';
import { binarySize } from './hugepages.ts';

/** What a node has, or what is left of it for pods. */
export interface NodeResources {
  cpuMillis: number;
  memoryBytes: number;
  ephemeralStorageBytes: number;
  /** How many pods may run. */
  pods: number;
  /** How many processes the kernel allows (pid_max); undefined when unknown. */
  pids?: number;
  /** Preallocated huge pages: page size in bytes → bytes in total. */
  hugepages: ReadonlyMap<number, number>;
  /** Extended resources that this node's device plugins offer: name → whole units. 0: offered once, and gone. */
  extended?: ReadonlyMap<string, number>;
}

/** What the host reports. */
export interface HostCapacity {
  cpus: number;
  memoryBytes: number;
  /** Size of the file system that holds the agent's root directory. */
  nodeFsBytes: number;
  pidMax: number;
  hugepages: ReadonlyMap<number, number>;
}

export interface Reservations {
  /** cpu, memory, ephemeral-storage, pid. */
  kubeReserved: Record<string, string>;
  systemReserved: Record<string, string>;
  /** `memory.available`, `nodefs.available`: a quantity or a percentage of the capacity. */
  evictionHard: Record<string, string>;
}

/** Thresholds of a node whose configuration names none. */
export const DEFAULT_EVICTION_HARD: Readonly<Record<string, string>> = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
};

/** Capacity as the Node object shows it. `podsPerCore` 0: only `maxPods` counts. */
export function computeCapacity(host: HostCapacity, limits: { maxPods: number; podsPerCore: number }): NodeResources {
  return {
    cpuMillis: host.cpus * 1000,
    memoryBytes: host.memoryBytes,
    ephemeralStorageBytes: host.nodeFsBytes,
    pods: limits.podsPerCore > 0 ? Math.min(limits.maxPods, limits.podsPerCore * host.cpus) : limits.maxPods,
    pids: host.pidMax,
    hugepages: host.hugepages,
  };
}

/** What capacity cannot hold: reservations and hard eviction thresholds together, in words. Empty when all is well. */
export function findOverReservation(capacity: NodeResources, reservations: Reservations): string[] {
  const { kubeReserved, systemReserved, evictionHard } = reservations;
  const check = (
    name: string,
    unit: (quantity: string | undefined) => number,
    capacityUnits: number,
    threshold: [signal: string, units: number] | undefined,
    format: (units: number) => string,
  ): string[] => {
    const parts = [
      [`kubeReserved.${name}`, unit(kubeReserved[name])] as const,
      [`systemReserved.${name}`, unit(systemReserved[name])] as const,
      ...(threshold ? [threshold] : []),
    ].filter(([, units]) => units > 0);
    const sum = parts.reduce((total, [, units]) => total + units, 0);
    if (sum <= capacityUnits) return [];
    const terms = parts.map(([term, units]) => `${term} ${format(units)}`).join(' + ');
    return [`${terms} = ${format(sum)}; accepted: up to this node's ${name} of ${format(capacityUnits)}`];
  };
  const { memoryBytes, ephemeralStorageBytes: storageBytes, cpuMillis: millis, pids } = capacity;
  const memory = thresholdBytes(evictionHard['memory.available'], memoryBytes);
  const storage = thresholdBytes(evictionHard['nodefs.available'], storageBytes);
  return [
    ...check('cpu', cpuMillis, millis, undefined, formatCpuMillis),
    ...check('memory', bytes, memoryBytes, ['evictionHard.memory.available', memory], formatBytes),
    ...check('ephemeral-storage', bytes, storageBytes, ['evictionHard.nodefs.available', storage], formatBytes),
    ...(pids === undefined ? [] : check('pid', bytes, pids, undefined, String)),
  ];
}

/** Capacity less reservations and preallocated huge pages: the limit of the `kubepods` cgroup. */
export function computeUnreserved(
  capacity: NodeResources,
  { kubeReserved, systemReserved }: Reservations,
): NodeResources {
  const reserved = (name: string, unit: (quantity: string | undefined) => number) =>
    unit(kubeReserved[name]) + unit(systemReserved[name]);
  const hugepageBytes = [...capacity.hugepages.values()].reduce((sum, size) => sum + size, 0);
  return {
    ...capacity,
    cpuMillis: Math.max(0, capacity.cpuMillis - reserved('cpu', cpuMillis)),
    memoryBytes: Math.max(0, capacity.memoryBytes - reserved('memory', bytes) - hugepageBytes),
    ephemeralStorageBytes: Math.max(0, capacity.ephemeralStorageBytes - reserved('ephemeral-storage', bytes)),
    ...(capacity.pids !== undefined && { pids: Math.max(0, capacity.pids - reserved('pid', bytes)) }),
  };
}

/** What the scheduler may give to pods: unreserved, less hard eviction thresholds. */
export function computeAllocatable(capacity: NodeResources, reservations: Reservations): NodeResources {
  const unreserved = computeUnreserved(capacity, reservations);
  const { evictionHard } = reservations;
  const memory = thresholdBytes(evictionHard['memory.available'], capacity.memoryBytes);
  const storage = thresholdBytes(evictionHard['nodefs.available'], capacity.ephemeralStorageBytes);
  return {
    ...unreserved,
    memoryBytes: Math.max(0, unreserved.memoryBytes - memory),
    ephemeralStorageBytes: Math.max(0, unreserved.ephemeralStorageBytes - storage),
  };
}

/** Bytes of an eviction threshold: `100Mi`, or `10%` of the capacity (rounded down). */
export function thresholdBytes(threshold: string | undefined, capacityBytes: number): number {
  const value = threshold === undefined ? undefined : parseThresholdValue(threshold);
  return value === undefined || value === 'bad' ? 0 : amountOf(value, capacityBytes);
}

/** As `status.capacity` and `status.allocatable` write it, in canonical form: what the API server would make of it. */
export function renderNodeResources(resources: NodeResources): Record<string, string> {
  const list: Record<string, string> = {
    cpu: formatCpuMillis(resources.cpuMillis),
    'ephemeral-storage': formatBytes(resources.ephemeralStorageBytes),
    memory: formatBytes(resources.memoryBytes),
    pods: String(resources.pods),
  };
  for (const [size, total] of resources.hugepages) list[`hugepages-${binarySize(size)}`] = formatBytes(total);
  for (const [name, units] of resources.extended ?? []) list[name] = canonicalQuantity(units);
  return list;
}
