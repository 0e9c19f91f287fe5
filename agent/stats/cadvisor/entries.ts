import { type DeviceIo, type MemoryDetail, parseMemoryDetail } from '../../../src/linux/cgroup/stat-text.ts';
import type { DiskUsage } from '../../../src/linux/disk-usage.ts';
import type { FileSystem } from '../../../src/linux/file-system.ts';
import type { InterfaceCounters } from '../../../src/linux/net-dev.ts';
import { formatLabels } from '../exposition.ts';
import type { CgroupReading, ContainerReading, NodeReading, PodReading } from '../pass.ts';
import type { PodDisk } from '../pod-disk.ts';
import type { ProcessFigures } from '../processes.ts';

/** One cgroup as /metrics/cadvisor shows it. */
export interface CadvisorEntry {
  /** `container="…",id="…",image="…",name="…",namespace="…",pod="…"`: every entry has all of them, empty where they say nothing. */
  labels: string;
  reading: CgroupReading;
  memory?: MemoryDetail | undefined;
  startedAtMs: number;
  interfaces?: readonly InterfaceCounters[] | undefined;
  processes?: ProcessFigures | undefined;
  /** Its use of a file system, and the device. */
  disk?: { usage: DiskUsage; fs: FileSystem; device: string } | undefined;
}

export interface CadvisorEntryInput {
  reading: NodeReading;
  version: 1 | 2;
  /** When the host was started. */
  bootedAtMs: number;
  processes(containerId: string): ProcessFigures | undefined;
  podDisk(uid: string): PodDisk | undefined;
  /** Of the agent's root directory, and of the Engine's layers. */
  nodeFs?: { fs: FileSystem; device: string } | undefined;
  layerDevice: string;
  /** Of the host's disks. */
  diskIo: ReadonlyMap<string, DeviceIo>;
}

/** The node, its services, its pods, their sandboxes and containers. Pure. Network counters are the node's and the sandboxes', as the mixin expects. */
export function listEntries(input: CadvisorEntryInput): CadvisorEntry[] {
  const { reading, version, nodeFs } = input;
  const entries: CadvisorEntry[] = [];
  const add = (
    id: string,
    one: CgroupReading,
    startedAtMs: number,
    names: { container?: string; image?: string; name?: string; namespace?: string; pod?: string } = {},
    more: Partial<CadvisorEntry> = {},
  ) => {
    const { container = '', image = '', name = '', namespace = '', pod = '' } = names;
    entries.push({
      labels: formatLabels({ container, id, image, name, namespace, pod }),
      reading: one,
      ...(one.memory && { memory: parseMemoryDetail(version, one.memory.stat) }),
      startedAtMs,
      ...more,
    });
  };
  const { host, root } = reading;
  const disk = nodeFs && {
    ...nodeFs,
    usage: { bytes: nodeFs.fs.usedBytes, inodes: nodeFs.fs.inodesUsed },
  };
  const limits = { ...root.limits, memoryBytes: host.memoryTotalBytes, swapBytes: host.swapTotalBytes };
  // v1's root does not count what the whole host does on its disks.
  const detail = root.detail && { ...root.detail, io: root.detail.io?.size ? root.detail.io : input.diskIo };
  add(
    '/',
    { ...root, limits, pressure: host.pressure, detail },
    input.bootedAtMs,
    {},
    { interfaces: host.interfaces, disk },
  );
  for (const service of reading.system) add(service.path, service, input.bootedAtMs);
  for (const pod of reading.pods) addPod(pod);
  return entries;

  function addPod(pod: PodReading) {
    const { namespace, name, path, startedAtMs, uid } = pod.target;
    add(path, pod, startedAtMs, { namespace, pod: name });
    const podDisk = input.podDisk(uid);
    const addContainer = (one: ContainerReading, interfaces?: readonly InterfaceCounters[]) => {
      const { target } = one;
      const usage = podDisk?.layers.get(target.id);
      add(
        target.path,
        one,
        target.startedAtMs,
        { container: target.name, image: target.image, name: target.dockerName, namespace, pod: name },
        {
          interfaces,
          processes: input.processes(target.id),
          ...(usage && podDisk?.layerFs && { disk: { usage, fs: podDisk.layerFs, device: input.layerDevice } }),
        },
      );
    };
    if (pod.sandbox) addContainer(pod.sandbox, pod.interfaces);
    for (const container of pod.containers) addContainer(container);
  }
}
