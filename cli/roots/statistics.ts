import { cpus, uptime } from 'node:os';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import type { HostFacts } from '../../agent/node/host-facts.ts';
import type { PodDirectory } from '../../agent/pods/ports.ts';
import { cgroupPath, KUBEPODS } from '../../agent/resources/cgroup-names.ts';
import { readCpuTopology } from '../../agent/stats/cadvisor/machine.ts';
import { createStatisticsEndpoints, type StatisticsEndpoints } from '../../agent/stats/endpoints.ts';
import { createImageBytes } from '../../agent/stats/image-bytes.ts';
import { readOpenFilesLimit } from '../../agent/stats/processes.ts';
import { createStatistics, type Statistics } from '../../agent/stats/statistics.ts';
import type { ClaimFigures } from '../../agent/volumes/persistent/volume-stats.ts';
import { createPodDirectories } from '../../agent/volumes/pod-directories.ts';
import type { DockerEngine, EngineInfo } from '../../src/docker/engine.ts';
import { findHierarchies } from '../../src/linux/cgroup/hierarchies.ts';
import { createCgroupSampler } from '../../src/linux/cgroup/sampler.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import type { ProgramContext } from './context.ts';
import { driverOf } from './node-resources.ts';

/** What the node and its pods use: for eviction, and for the node's port. */
export async function openStatistics(
  options: {
    config: KubeletConfiguration;
    nodeName: string;
    rootDir: string;
    pauseImage: string;
    engine: EngineInfo;
    facts: HostFacts;
  },
  deps: { pods: Pick<PodDirectory, 'list' | 'runtime'>; docker: DockerEngine; claims?: ClaimFigures },
  { log, clock }: ProgramContext,
): Promise<{ statistics: Statistics; endpoints: StatisticsEndpoints }> {
  const { config, engine, facts, rootDir } = options;
  // Connections to the Engine, to the API server and of people want descriptors too.
  const keptFiles = Math.floor((readOpenFilesLimit('/proc/self/limits') ?? Number.POSITIVE_INFINITY) / 4);
  const sampler = createCgroupSampler(await findHierarchies('/sys/fs/cgroup'), { keptFiles });
  const driver = driverOf(engine);
  const cgroupRoot = config.cgroupRoot || '/';
  const paths = { rootDir, dockerRoot: engine.dockerRootDir, procRoot: '/proc' };
  const statistics = createStatistics(
    {
      ...paths,
      nodeName: options.nodeName,
      driver,
      cgroupRoot,
      pauseImage: options.pauseImage,
      kubepodsPath: cgroupPath(driver, [...cgroupRoot.split('/').filter(Boolean), ...KUBEPODS]),
      kubeletCgroup: config.kubeletCgroups,
      systemCgroup: config.systemCgroups,
      enginePidFile: '/run/docker.pid',
      diskPeriodMs: config.volumeStatsAggPeriodMs,
    },
    {
      ...deps,
      sampler,
      directories: createPodDirectories(rootDir),
      imageBytes: createImageBytes({ ...paths, storageDriver: engine.storageDriver }, { docker: deps.docker, clock }),
      clock,
      log,
    },
  );
  const { identity, capacity } = facts;
  const endpoints = createStatisticsEndpoints(
    {
      ...paths,
      bootedAtMs: clock.nowMs() - uptime() * 1000,
      machine: {
        ...(await readCpuTopology(cpus().length)),
        memoryBytes: capacity.memoryBytes,
        swapBytes: identity.swap?.capacity ?? 0,
        machineId: identity.machineID,
        systemUuid: identity.systemUUID,
        bootId: identity.bootID,
        kernelVersion: identity.kernelVersion,
        osVersion: identity.osImage,
        dockerVersion: engine.serverVersion,
        version: KUBERNETES_VERSION,
      },
    },
    {
      statistics,
      sampler,
      clock,
      onError: (error, what) => log.warn({ err: error }, `statistics for ${what} could not be read`),
    },
  );
  return { statistics, endpoints };
}
