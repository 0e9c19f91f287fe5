import type { Pressure } from '../../src/linux/cgroup/stat-text.ts';
import type { DiskUsage } from '../../src/linux/disk-usage.ts';
import type { FileSystem } from '../../src/linux/file-system.ts';
import type { InterfaceCounters } from '../../src/linux/net-dev.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import type { CgroupReading, ContainerReading, NodeReading, PodReading } from './pass.ts';
import type { PodDisk } from './pod-disk.ts';
import type {
  ContainerStats,
  CpuStats,
  FsStats,
  InterfaceStats,
  MemoryStats,
  NetworkStats,
  NodeStats,
  PodStats,
  Summary,
  SwapStats,
  VolumeStats,
} from './summary.ts';

/** Disks as they were looked at for this summary. */
export interface NodeDisks {
  /** Of the agent's root directory. */
  node?: FileSystem | undefined;
  /** Of the Engine's images. */
  images?: FileSystem | undefined;
  /** Of the writable layers. */
  layers?: FileSystem | undefined;
  imageBytes?: number | undefined;
}

export interface SummaryInput {
  nodeName: string;
  startedAtMs: number;
  reading: NodeReading;
  /** False: only CPU and memory. */
  isFull: boolean;
  disks?: NodeDisks | undefined;
  podDisk(uid: string): PodDisk | undefined;
  /** Volumes behind claims, by the volume's name in the pod. */
  podClaims(reading: PodReading): VolumeStats[];
}

/** Pure. The numbers of a pass and of the disks, in upstream's arrangement. */
export function buildSummary(input: SummaryInput): Summary {
  const time = timestamp(input.reading.timeMs);
  return { node: buildNode(input, time), pods: input.reading.pods.map((pod) => buildPod(pod, input, time)) };
}

function buildNode(input: SummaryInput, time: string): NodeStats {
  const { nodeName, startedAtMs, reading, disks, podDisk, isFull } = input;
  const { root, host, system } = reading;
  const node: NodeStats = {
    nodeName,
    systemContainers: system.map((one) => ({
      name: one.name,
      startTime: timestamp(startedAtMs),
      ...usageOf(one, time, isFull),
    })),
    startTime: timestamp(startedAtMs),
    ...usageOf(
      { ...root, limits: { memoryBytes: host.memoryTotalBytes }, pressure: isFull ? host.pressure : {} },
      time,
      isFull,
    ),
  };
  if (host.swapTotalBytes !== undefined && host.swapFreeBytes !== undefined)
    node.swap = {
      time,
      swapAvailableBytes: host.swapFreeBytes,
      swapUsageBytes: host.swapTotalBytes - host.swapFreeBytes,
    };
  if (!isFull) return node;
  const names = host.interfaces.map(({ name }) => name);
  const main = names.includes('eth0') ? 'eth0' : host.defaultInterface;
  if (host.interfaces.length > 0) node.network = networkOf(host.interfaces, main, time);
  if (disks?.node) node.fs = { time, ...disks.node };
  if (disks?.images) {
    const layerBytes = sum(reading.pods.flatMap(({ target }) => [...(podDisk(target.uid)?.layers.values() ?? [])]));
    node.runtime = {
      imageFs: { time, ...disks.images, usedBytes: disks.imageBytes },
      containerFs: { time, ...(disks.layers ?? disks.images), usedBytes: layerBytes.bytes },
    };
  }
  node.rlimit = {
    time,
    ...(host.maxTasks !== undefined && { maxpid: host.maxTasks }),
    ...(host.tasks !== undefined && { curproc: host.tasks }),
  };
  return node;
}

function buildPod(pod: PodReading, input: SummaryInput, time: string): PodStats {
  const { target } = pod;
  const { isFull } = input;
  const disk = isFull ? input.podDisk(target.uid) : undefined;
  const stats: PodStats = {
    podRef: { name: target.name, namespace: target.namespace, uid: target.uid },
    startTime: timestamp(target.startedAtMs),
    containers: pod.containers.map((container) => buildContainer(container, disk, time, isFull)),
    ...usageOf(pod, time, isFull),
  };
  if (!isFull) return stats;
  if (pod.interfaces) stats.network = networkOf(pod.interfaces, 'eth0', time);
  if (pod.tasks !== undefined) stats.process_stats = { process_count: pod.tasks };
  const volumes: VolumeStats[] = [
    ...(disk?.volumes.map(({ name, usage, fs }) => ({ ...fsOf(usage, fs, disk.timeMs), name })) ?? []),
    ...input.podClaims(pod),
  ];
  if (volumes.length > 0) stats.volume = volumes;
  if (disk) {
    const layers = pod.containers.flatMap(({ target: { id } }) => disk.layers.get(id) ?? []);
    const ephemeral = disk.volumes.filter(({ isEphemeral }) => isEphemeral).map(({ usage }) => usage);
    const all = sum([...layers, ...disk.logs.values(), ...ephemeral, disk.other]);
    stats['ephemeral-storage'] = fsOf(all, input.disks?.node ?? disk.layerFs, disk.timeMs);
  }
  return stats;
}

function buildContainer(
  reading: ContainerReading,
  disk: PodDisk | undefined,
  time: string,
  isFull: boolean,
): ContainerStats {
  const { target } = reading;
  const rootfs = disk?.layers.get(target.id);
  const logs = disk?.logs.get(target.name);
  return {
    name: target.name,
    startTime: timestamp(target.startedAtMs),
    ...usageOf(reading, time, isFull),
    ...(disk && rootfs && { rootfs: fsOf(rootfs, disk.layerFs, disk.timeMs) }),
    ...(disk && logs && { logs: fsOf(logs, disk.layerFs, disk.timeMs) }),
  };
}

function usageOf(
  reading: CgroupReading,
  time: string,
  isFull: boolean,
): Pick<NodeStats, 'cpu' | 'memory' | 'io' | 'swap'> {
  const { cpu, memory, usageNanoCores, limits, swapBytes, pressure } = reading;
  const psi = (one: Pressure | undefined) => (isFull && one ? { psi: one } : {});
  const cpuStats: CpuStats | undefined = cpu && {
    time,
    ...(usageNanoCores !== undefined && { usageNanoCores }),
    usageCoreNanoSeconds: cpu.usageNanos,
    ...psi(pressure?.cpu),
  };
  const memoryStats: MemoryStats | undefined = memory && {
    time,
    ...(limits.memoryBytes !== undefined && {
      availableBytes: Math.max(0, limits.memoryBytes - memory.workingSetBytes),
    }),
    usageBytes: memory.usageBytes,
    workingSetBytes: memory.workingSetBytes,
    ...(memory.rssBytes !== undefined && { rssBytes: memory.rssBytes }),
    ...(memory.pageFaults !== undefined && { pageFaults: memory.pageFaults }),
    ...(memory.majorPageFaults !== undefined && { majorPageFaults: memory.majorPageFaults }),
    ...psi(pressure?.memory),
  };
  const swap: SwapStats | undefined = swapBytes === undefined ? undefined : { time, swapUsageBytes: swapBytes };
  if (swap && limits.swapBytes !== undefined) swap.swapAvailableBytes = Math.max(0, limits.swapBytes - swapBytes!);
  return {
    ...(cpuStats && { cpu: cpuStats }),
    ...(memoryStats && { memory: memoryStats }),
    ...(isFull && pressure?.io && { io: { time, ...psi(pressure.io) } }),
    ...(swap && { swap }),
  };
}

function networkOf(interfaces: readonly InterfaceCounters[], main: string | undefined, time: string): NetworkStats {
  const all = interfaces.map(interfaceOf);
  return { time, ...(all.find(({ name }) => name === main) ?? { name: '' }), interfaces: all };
}

function interfaceOf({ name, rxBytes, rxErrors, txBytes, txErrors }: InterfaceCounters): InterfaceStats {
  return { name, rxBytes, rxErrors, txBytes, txErrors };
}

/** What something takes, and the file system that it lies on. */
function fsOf(usage: DiskUsage, fs: FileSystem | undefined, timeMs: number): FsStats {
  return {
    time: timestamp(timeMs),
    ...(fs && {
      availableBytes: fs.availableBytes,
      capacityBytes: fs.capacityBytes,
      inodesFree: fs.inodesFree,
      inodes: fs.inodes,
    }),
    usedBytes: usage.bytes,
    inodesUsed: usage.inodes,
  };
}

function sum(usages: readonly DiskUsage[]): DiskUsage {
  return usages.reduce((total, { bytes, inodes }) => ({ bytes: total.bytes + bytes, inodes: total.inodes + inodes }), {
    bytes: 0,
    inodes: 0,
  });
}
