/**
 * What /stats/summary answers: `stats.k8s.io/v1alpha1` Summary, by its wire names. Times are RFC 3339, sizes bytes. What is not known
 * is absent, never 0: who decides by these figures (eviction, autoscalers) must be able to tell the two apart.
 */
export interface Summary {
  node: NodeStats;
  pods: PodStats[];
}

export interface NodeStats {
  nodeName: string;
  /** `kubelet`, `runtime`, `pods`, `misc`, where each can be told from the rest. */
  systemContainers?: ContainerStats[];
  startTime: string;
  cpu?: CpuStats;
  memory?: MemoryStats;
  io?: IoStats;
  /** Of the node's own network namespace. */
  network?: NetworkStats;
  /** File system of the agent's root directory; `usedBytes` is all that is used on it. */
  fs?: FsStats;
  runtime?: RuntimeStats;
  rlimit?: RlimitStats;
  swap?: SwapStats;
}

export interface PodStats {
  podRef: { name: string; namespace: string; uid: string };
  startTime: string;
  /** Those that run, init containers too. */
  containers: ContainerStats[];
  /** Of the pod's cgroup: all containers and the sandbox. */
  cpu?: CpuStats;
  memory?: MemoryStats;
  io?: IoStats;
  /** Absent for pods on the node's own network. */
  network?: NetworkStats;
  volume?: VolumeStats[];
  /** Writable layers, logs and volumes on local disk that live as long as the pod. */
  'ephemeral-storage'?: FsStats;
  process_stats?: { process_count?: number };
  swap?: SwapStats;
}

export interface ContainerStats {
  name: string;
  startTime: string;
  cpu?: CpuStats;
  memory?: MemoryStats;
  io?: IoStats;
  /** `usedBytes` and `inodesUsed` are the writable layer's; the rest is of the file system that it lies on. */
  rootfs?: FsStats;
  /** `usedBytes` and `inodesUsed` are those of this container's logs. */
  logs?: FsStats;
  swap?: SwapStats;
}

export interface CpuStats {
  time: string;
  /** Cores × 10⁹ over the time since the pass before; absent until there are two. */
  usageNanoCores?: number;
  usageCoreNanoSeconds?: number;
  psi?: PsiStats;
}

export interface MemoryStats {
  time: string;
  /** Limit − working set; absent without a limit. */
  availableBytes?: number;
  usageBytes?: number;
  /** Usage − inactive file pages. */
  workingSetBytes?: number;
  rssBytes?: number;
  pageFaults?: number;
  majorPageFaults?: number;
  psi?: PsiStats;
}

export interface IoStats {
  time: string;
  psi?: PsiStats;
}

/** Pressure stall information: how long tasks waited for the resource. */
export interface PsiStats {
  full: PsiData;
  some: PsiData;
}

export interface PsiData {
  /** Microseconds, the kernel's own number, as upstream passes it on (whose docs say nanoseconds). */
  total: number;
  /** Percent of the last 10, 60, 300 s. */
  avg10: number;
  avg60: number;
  avg300: number;
}

export interface SwapStats {
  time: string;
  swapAvailableBytes?: number;
  swapUsageBytes?: number;
}

export interface InterfaceStats {
  name: string;
  rxBytes?: number;
  rxErrors?: number;
  txBytes?: number;
  txErrors?: number;
}

/** The default interface's figures, and those of every interface. */
export interface NetworkStats extends InterfaceStats {
  time: string;
  interfaces?: InterfaceStats[];
}

export interface FsStats {
  time: string;
  availableBytes?: number;
  capacityBytes?: number;
  usedBytes?: number;
  inodesFree?: number;
  inodes?: number;
  inodesUsed?: number;
}

export interface VolumeStats extends FsStats {
  name: string;
  pvcRef?: { name: string; namespace: string };
  /** A CSI driver's word. */
  volumeHealthStats?: { abnormal: boolean };
}

export interface RuntimeStats {
  /** Where images lie; `usedBytes` is what images take of it. */
  imageFs?: FsStats;
  /** Where writable layers lie; `usedBytes` is what they take of it. */
  containerFs?: FsStats;
}

export interface RlimitStats {
  time: string;
  /** Processes that the kernel allows. */
  maxpid?: number;
  /** Processes and threads that there are. */
  curproc?: number;
}

export interface SummaryOptions {
  /** An older pass is not good enough: 0 asks for a new one. The provider's own cache time unless said. */
  maxAgeMs?: number;
  /** Without disks, network, processes, PSI of io and volumes. */
  onlyCpuAndMemory?: boolean;
}

/** What the node and its pods use now. */
export interface StatsProvider {
  summary(options?: SummaryOptions): Promise<Summary>;
}
