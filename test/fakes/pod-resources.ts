import type { PodResources } from '../../agent/pods/resource-ports.ts';

/** Cgroups that are nowhere: everything is given, nothing is limited. */
export const fakePodResources: PodResources = {
  async ensurePod() {},
  podExists: async () => true,
  async removePod() {},
  async retain() {},
  cgroupParent: (pod) => `/kubepods/pod${pod.metadata.uid}`,
  containerProcesses: async () => [],
  limitContainer: async () => {},
  groupKills: async () => undefined,
  oomScoreAdj: () => 0,
  containerResources: () => ({ CpuShares: 2 }),
  memoryInUseBytes: async () => undefined,
  nodeAllocatable: () => ({ cpuMillis: 4000, memoryBytes: 2 ** 32, ephemeralStorageBytes: 2 ** 36 }),
};
