import { uptime } from 'node:os';
import type { CgroupSampler } from '../../src/linux/cgroup/sampler.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { PodDirectory } from '../pods/ports.ts';
import type { ClaimFigures } from '../volumes/persistent/volume-stats.ts';
import type { PodDirectories } from '../volumes/pod-directories.ts';
import { buildSummary, type NodeDisks } from './build-summary.ts';
import { podClaims } from './claims.ts';
import { createDiskKeeper } from './disk-keeper.ts';
import { readFileSystem } from './fs.ts';
import { createPass, type NodeReading, type PassDepth, type PassOptions } from './pass.ts';
import type { PodDisk } from './pod-disk.ts';
import type { StatsProvider, Summary } from './summary.ts';
import { createTargets, type TargetOptions } from './targets.ts';

export interface StatisticsOptions extends TargetOptions, PassOptions {
  nodeName: string;
  /** The agent's, whose file system is the node's ephemeral storage. */
  rootDir: string;
  /** The Engine's. */
  dockerRoot: string;
  /** `volumeStatsAggPeriod`. */
  diskPeriodMs: number;
}

export interface StatisticsDeps {
  pods: Pick<PodDirectory, 'list' | 'runtime'>;
  sampler: CgroupSampler;
  directories: PodDirectories;
  /** What images take, when it is known. */
  imageBytes(): Promise<number | undefined>;
  /** Of volumes behind claims; absent on a node without an API server. */
  claims?: Pick<ClaimFigures, 'of'>;
  clock: Clock;
  log: Logger;
}

export interface Statistics extends StatsProvider {
  /** CPU and memory alone, with the wall time of the reading in milliseconds, which the summary tells in seconds. */
  usage(): Promise<{ summary: Summary; timeMs: number }>;
  /** A pass for /metrics/cadvisor, not older than a second. */
  everything(): Promise<NodeReading>;
  podDisk(uid: string): PodDisk | undefined;
  /** Measures disks until aborted, then closes what is kept open. */
  run(signal: AbortSignal): Promise<void>;
}

/** Who asks twice within this time gets the same answer, unless they ask for a newer one. */
const MAX_AGE_MS = 1000;
const DEPTHS: readonly PassDepth[] = ['usage', 'summary', 'everything'];

/** The node's statistics: one pass serves everybody who asks at about the same time. */
export function createStatistics(options: StatisticsOptions, deps: StatisticsDeps): Statistics {
  const { clock, sampler } = deps;
  const startedAtMs = clock.nowMs() - uptime() * 1000;
  const targets = createTargets(options, deps.pods);
  const pass = createPass(options, { sampler, targets, clock });
  const disks = createDiskKeeper(
    { ...options, periodMs: options.diskPeriodMs },
    { ...deps, targets, pidOf: (path) => sampler.processes(path).find((pid) => pid > 0) },
  );
  let newest: { reading: NodeReading; atMs: number } | undefined;
  let running: { depth: PassDepth; done: Promise<NodeReading> } | undefined;

  function serves(has: PassDepth, wanted: PassDepth): boolean {
    return DEPTHS.indexOf(has) >= DEPTHS.indexOf(wanted);
  }

  async function read(depth: PassDepth, maxAgeMs: number): Promise<NodeReading> {
    while (running) {
      if (serves(running.depth, depth)) return running.done;
      await running.done.catch(() => {});
    }
    if (newest && serves(newest.reading.depth, depth) && clock.monotonicMs() - newest.atMs < maxAgeMs)
      return newest.reading;
    const done = runInSlices(pass.run(depth));
    running = { depth, done };
    try {
      const reading = await done;
      newest = { reading, atMs: clock.monotonicMs() };
      return reading;
    } finally {
      running = undefined;
    }
  }

  async function lookAtDisks(reading: NodeReading): Promise<NodeDisks> {
    const layers = reading.pods.map(({ target }) => disks.of(target.uid)?.layerFs).find((fs) => fs !== undefined);
    const [node, images, imageBytes] = await Promise.all([
      readFileSystem(options.rootDir),
      readFileSystem(options.dockerRoot),
      deps.imageBytes(),
    ]);
    // Layers lie where images do, but for an Engine whose images are in containerd's store.
    const isElsewhere = layers !== undefined && layers.capacityBytes !== images?.capacityBytes;
    return { node, images, imageBytes, layers: isElsewhere ? layers : images };
  }

  function build(reading: NodeReading, isFull: boolean, nodeDisks?: NodeDisks): Summary {
    return buildSummary({
      nodeName: options.nodeName,
      startedAtMs,
      reading,
      isFull,
      disks: nodeDisks,
      podDisk: disks.of,
      podClaims: ({ target }) => (deps.claims ? podClaims(target.pod, deps.claims, clock.nowMs()) : []),
    });
  }

  async function usage(maxAgeMs: number) {
    const reading = await read('usage', maxAgeMs);
    return { summary: build(reading, false), timeMs: reading.timeMs };
  }

  return {
    async summary({ maxAgeMs = MAX_AGE_MS, onlyCpuAndMemory = false } = {}) {
      if (onlyCpuAndMemory) return (await usage(maxAgeMs)).summary;
      const reading = await read('summary', maxAgeMs);
      return build(reading, true, await lookAtDisks(reading));
    },
    usage: () => usage(MAX_AGE_MS),
    everything: () => read('everything', MAX_AGE_MS),
    podDisk: disks.of,
    async run(signal) {
      try {
        await disks.run(signal);
      } finally {
        sampler.close();
      }
    },
  };
}
