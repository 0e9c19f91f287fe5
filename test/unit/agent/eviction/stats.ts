import type { ContainerStats, PodStats, Summary } from '../../../../agent/stats/summary.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

export const MI = 2 ** 20;
export const GI = 2 ** 30;
export const TIME = '2026-01-01T00:00:00Z';

/** A file system with that share of its room and inodes left (of 100 GiB and a million). */
export function fsWith(share: number, inodesShare = 0.5) {
  return {
    time: TIME,
    capacityBytes: 100 * GI,
    availableBytes: share * 100 * GI,
    inodes: 1_000_000,
    inodesFree: inodesShare * 1_000_000,
  };
}

export interface NodeLevels {
  memoryAvailable?: number;
  podsAvailable?: number;
  nodeFs?: ReturnType<typeof fsWith>;
  imageFs?: ReturnType<typeof fsWith>;
  processes?: number;
}

/** A node of 8 GiB, of which 4 GiB are the pods'; it lacks nothing but what is said. */
export function summaryOf(levels: NodeLevels = {}, pods: PodStats[] = []): Summary {
  const memoryOf = (capacity: number, availableBytes: number) => ({
    time: TIME,
    availableBytes,
    workingSetBytes: capacity - availableBytes,
  });
  return {
    node: {
      nodeName: 'node-1',
      startTime: TIME,
      memory: memoryOf(8 * GI, levels.memoryAvailable ?? 4 * GI),
      systemContainers: [{ name: 'pods', startTime: TIME, memory: memoryOf(4 * GI, levels.podsAvailable ?? 2 * GI) }],
      fs: levels.nodeFs ?? fsWith(0.5),
      runtime: { imageFs: levels.imageFs ?? levels.nodeFs ?? fsWith(0.5), containerFs: levels.imageFs ?? fsWith(0.5) },
      rlimit: { time: TIME, maxpid: 1000, curproc: levels.processes ?? 100 },
    },
    pods,
  };
}

export interface Use {
  memory?: number;
  processes?: number;
  /** Per container name: [rootfs, logs] bytes; inodes are one per MiB. */
  disk?: Record<string, [rootfs: number, logs: number]>;
  volumes?: Record<string, number>;
  ephemeral?: number;
}

const usedFs = (bytes: number) => ({ time: TIME, usedBytes: bytes, inodesUsed: Math.ceil(bytes / MI) });

export function statsOf(pod: Pod, use: Use): PodStats {
  const containers = pod.spec.containers.map(({ name }): ContainerStats => {
    const [rootfs, logs] = use.disk?.[name] ?? [0, 0];
    const memory = { time: TIME, workingSetBytes: (use.memory ?? 0) / pod.spec.containers.length };
    return { name, startTime: TIME, memory, rootfs: usedFs(rootfs), logs: usedFs(logs) };
  });
  return {
    podRef: { name: pod.metadata.name, namespace: pod.metadata.namespace ?? 'default', uid: pod.metadata.uid },
    startTime: TIME,
    containers,
    memory: { time: TIME, workingSetBytes: use.memory ?? 0 },
    process_stats: { process_count: use.processes ?? 0 },
    volume: Object.entries(use.volumes ?? {}).map(([name, bytes]) => ({ name, ...usedFs(bytes) })),
    ...(use.ephemeral !== undefined && { 'ephemeral-storage': usedFs(use.ephemeral) }),
  };
}

/** `namedPod('a', {priority: 5})`: name and UID are the same. */
export function namedPod(
  name: string,
  spec: Parameters<typeof podOf>[0] = {},
  metadata: Partial<Pod['metadata']> = {},
) {
  return podOf(spec, { name, uid: name, ...metadata });
}
