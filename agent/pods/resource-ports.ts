import type { Pod } from '../../src/kube/types.ts';

/** What pods' lives need of cgroups and resources; agent/resources implements it. */

export interface PodResources {
  /** Creates or refreshes the pod's cgroup (and its QoS parent) with the limits that its spec asks for. Idempotent. */
  ensurePod(pod: Pod): Promise<void>;
  /** Whether the pod's cgroup is there (a restart of the host clears it). */
  podExists(pod: Pod): Promise<boolean>;
  /** Kills what is left in the pod's cgroup and removes it. Idempotent; works from the UID alone (orphans). */
  removePod(uid: string): Promise<void>;
  /** Removes the pod cgroups whose UID is not in the set. */
  retain(uids: ReadonlySet<string>): Promise<void>;
  /** For `HostConfig.CgroupParent`: a cgroupfs path or a slice name, as the Engine's driver wants it. */
  cgroupParent(pod: Pod): string;
  /** Pids in a container's cgroup; empty when there is none. */
  containerProcesses(pod: Pod, containerId: string): Promise<number[]>;
  /** Spec sheet §16.4, already clamped to ≥ 0 when this host lacks CAP_SYS_RESOURCE. */
  oomScoreAdj(pod: Pod, container: string | 'POD'): number;
  /** CPU and memory for the container's `HostConfig` (of the spec's requests and limits; init containers too). */
  containerResources(pod: Pod, container: string): ContainerResources;
  /**
   * Writes the limits that the Engine's API has no words for (huge pages, swap, memory.high, memory.oom.group) into the cgroup of a
   * container that has started or was updated. Nothing happens when it has ended meanwhile.
   */
  limitContainer(pod: Pod, container: string, containerId: string): Promise<void>;
  /** Memory charged to the pod, or to one container of it, page cache too; undefined when its cgroup is not there. */
  memoryInUseBytes(pod: Pod, containerId?: string): Promise<number | undefined>;
  /**
   * How many containers of the pod the kernel has ended as a whole for want of memory; undefined where it does not count them
   * (cgroup v1, singleProcessOOMKill, kernels before 5.17).
   */
  groupKills(uid: string): Promise<number | undefined>;
  /** Defaults of the downward API's `limits.*` when the container has none: the node's allocatable. */
  nodeAllocatable(): { cpuMillis: number; memoryBytes: number; ephemeralStorageBytes: number };
}

/** Fields of Docker's `HostConfig`; an absent one is not limited. CpuShares is always there (≥ 2). */
export interface ContainerResources {
  CpuShares: number;
  /** Microseconds per period. */
  CpuQuota?: number;
  CpuPeriod?: number;
  /** Bytes. */
  Memory?: number;
  /** Memory and swap together; equal to Memory: no swap. */
  MemorySwap?: number;
  /** CPUs and NUMA nodes as the kernel lists them: `0-1,4`. */
  CpusetCpus?: string;
  CpusetMems?: string;
}
