import { join } from 'node:path';
import type { CgroupSampler } from '../../src/linux/cgroup/sampler.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createDisks, deviceOf } from './cadvisor/devices.ts';
import { listEntries } from './cadvisor/entries.ts';
import { type Machine, renderMachine } from './cadvisor/machine.ts';
import { renderContainers } from './cadvisor/render.ts';
import { readFileSystem } from './fs.ts';
import { createProcessKeeper } from './processes.ts';
import { renderResourceMetrics } from './resource-metrics.ts';
import type { Statistics } from './statistics.ts';
import type { Summary, SummaryOptions } from './summary.ts';

/** What the node's port answers about its statistics. */
export interface StatisticsEndpoints {
  summary(options: SummaryOptions): Promise<Summary>;
  /** The text of /metrics/resource. */
  resourceMetrics(): Promise<string>;
  /** The text of /metrics/cadvisor, in pieces that are made as they are taken. */
  cadvisorMetrics(): Promise<Iterable<string>>;
}

export interface EndpointOptions {
  rootDir: string;
  dockerRoot: string;
  procRoot: string;
  machine: Machine;
  bootedAtMs: number;
}

export function createStatisticsEndpoints(
  options: EndpointOptions,
  deps: {
    statistics: Statistics;
    sampler: CgroupSampler;
    clock: Clock;
    onError(error: unknown, what: string): void;
  },
): StatisticsEndpoints {
  const { statistics, sampler, clock } = deps;
  const processes = createProcessKeeper(options, deps);
  const disks = createDisks({ clock, path: join(options.procRoot, 'diskstats') });
  let devices: Promise<{ node: string; layers: string }> | undefined;

  async function readDevices() {
    return { node: await deviceOf(options.rootDir), layers: await deviceOf(options.dockerRoot) };
  }

  /** Figures that cannot be had are an error in the text, as upstream; the scrape itself succeeds. */
  async function attempt<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      deps.onError(error, what);
      return undefined;
    }
  }

  async function entries() {
    devices ??= readDevices();
    const [reading, names, fs] = await Promise.all([statistics.everything(), devices, readFileSystem(options.rootDir)]);
    processes.refresh(reading.pods.flatMap(({ target }) => [target.sandbox, ...target.containers]));
    return listEntries({
      reading,
      version: sampler.version,
      bootedAtMs: options.bootedAtMs,
      processes: processes.of,
      podDisk: statistics.podDisk,
      ...(fs && { nodeFs: { fs, device: names.node } }),
      layerDevice: names.layers,
      diskIo: disks.io(),
    });
  }

  return {
    summary: statistics.summary,
    async resourceMetrics() {
      return renderResourceMetrics(await attempt('/metrics/resource', statistics.usage));
    },
    async cadvisorMetrics() {
      const found = await attempt('/metrics/cadvisor', entries);
      const context = { nowSeconds: Math.floor(clock.nowMs() / 1000), deviceName: disks.name };
      return (function* () {
        yield renderMachine(options.machine);
        yield* renderContainers(found, context);
      })();
    },
  };
}
