import { join } from 'node:path';
import type {
  CgroupLimitsRead,
  CgroupSampler,
  CpuTimes,
  MemoryEvents,
  MemoryUse,
} from '../../src/linux/cgroup/sampler.ts';
import type { DeviceIo, Pressure } from '../../src/linux/cgroup/stat-text.ts';
import { type InterfaceCounters, parseNetDev } from '../../src/linux/net-dev.ts';
import { readKernelFile } from '../../src/linux/open-files.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createCpuRates } from './cpu-rates.ts';
import { type HostReading, isIgnoredInterface, parseProcessCgroup, readHost } from './host.ts';
import type { ContainerTarget, PodTarget } from './targets.ts';

/** How much of each cgroup is read: for autoscalers, for the summary, for /metrics/cadvisor. */
export type PassDepth = 'usage' | 'summary' | 'everything';

/** What one cgroup told. A part that it does not tell is undefined. */
export interface CgroupReading {
  cpu?: CpuTimes | undefined;
  /** Cores × 10⁹. */
  usageNanoCores?: number | undefined;
  memory?: MemoryUse | undefined;
  swapBytes?: number | undefined;
  limits: CgroupLimitsRead;
  tasks?: number | undefined;
  pressure?: { cpu?: Pressure | undefined; memory?: Pressure | undefined; io?: Pressure | undefined };
  detail?: CgroupDetail;
}

/** Read only for /metrics/cadvisor. */
export interface CgroupDetail {
  io?: ReadonlyMap<string, DeviceIo> | undefined;
  peakBytes?: number | undefined;
  kernelBytes?: number | undefined;
  events: MemoryEvents;
}

export interface ContainerReading extends CgroupReading {
  target: ContainerTarget;
}

export interface PodReading extends CgroupReading {
  target: PodTarget;
  containers: ContainerReading[];
  /** Only in a pass of everything. */
  sandbox?: ContainerReading;
  /** Absent on the node's own network. */
  interfaces?: InterfaceCounters[];
}

export interface SystemReading extends CgroupReading {
  name: 'kubelet' | 'runtime' | 'pods' | 'misc';
  path: string;
}

export interface NodeReading {
  /** Wall time, of the end of the pass. */
  timeMs: number;
  depth: PassDepth;
  root: CgroupReading;
  host: HostReading;
  system: SystemReading[];
  pods: PodReading[];
}

export interface PassOptions {
  kubepodsPath: string;
  /** Configured cgroups of the agent and of all else that is no pod; '' : found, or not told. */
  kubeletCgroup: string;
  systemCgroup: string;
  /** File with dockerd's pid. */
  enginePidFile: string;
  procRoot: string;
}

export interface PassDeps {
  sampler: CgroupSampler;
  targets(): PodTarget[];
  clock: Clock;
}

/** Limits change seldom, and are many files: looked at again after so long, not all of them in one pass. */
const LIMITS_MS = 20_000;
const LIMITS_SPREAD_MS = 2_000;
const DETAIL_MS = 30_000;
const SYSTEM_MS = 60_000;

/**
 * One look at every cgroup of the node that belongs to it, its pods or its services: files that are kept open, no processes, no requests.
 * The generator yields after each pod, so that whoever drives it can let others have the event loop.
 */
export function createPass(options: PassOptions, { sampler, targets, clock }: PassDeps) {
  const rates = createCpuRates();
  const limits = new Map<string, { limits: CgroupLimitsRead; untilMs: number }>();
  const details = new Map<string, { detail: CgroupDetail; untilMs: number }>();
  /** First process of each sandbox. */
  const pids = new Map<string, number>();
  let known = new Set<string>();
  let spread = 0;
  let system: { found: { name: SystemReading['name']; path: string }[]; untilMs: number } | undefined;

  function limitsOf(path: string, nowMs: number): CgroupLimitsRead {
    const kept = limits.get(path);
    if (kept && nowMs < kept.untilMs) return kept.limits;
    spread = (spread + 1) % 10;
    const fresh = sampler.limits(path);
    limits.set(path, { limits: fresh, untilMs: nowMs + LIMITS_MS + spread * LIMITS_SPREAD_MS });
    return fresh;
  }

  /** High-water marks and the kernel's own share are for the curious: never read more often than every half minute. */
  function detailOf(path: string, stat: string, nowMs: number, isContainer: boolean): CgroupDetail {
    const kept = details.get(path);
    if (kept && nowMs < kept.untilMs)
      return isContainer ? { ...kept.detail, io: sampler.io(path), events: sampler.memoryEvents(path) } : kept.detail;
    const detail = {
      io: sampler.io(path),
      peakBytes: sampler.peakMemory(path),
      kernelBytes: sampler.kernelMemory(path, stat),
      events: sampler.memoryEvents(path),
    };
    spread = (spread + 1) % 10;
    details.set(path, { detail, untilMs: nowMs + DETAIL_MS * (1 + spread / 10) });
    return detail;
  }

  function readCgroup(
    path: string,
    depth: PassDepth,
    nowMs: number,
    hasSwap: boolean,
    isContainer = false,
  ): CgroupReading {
    const everything = depth === 'everything';
    const own = limitsOf(path, nowMs);
    const cpu = sampler.cpu(path, { detailed: everything, throttling: everything && own.cpuQuotaUs !== undefined });
    const memory = sampler.memory(path);
    return {
      cpu,
      usageNanoCores: cpu && rates.observe(path, cpu.usageNanos, nowMs),
      memory,
      // Without any swap on the node there is nothing to ask for.
      swapBytes: memory && (memory.swapBytes ?? (hasSwap ? sampler.swap(path) : 0)),
      limits: own,
      ...(depth !== 'usage' && {
        tasks: sampler.tasks(path),
        pressure: {
          cpu: sampler.pressure(path, 'cpu'),
          memory: sampler.pressure(path, 'memory'),
          io: sampler.pressure(path, 'io'),
        },
      }),
      ...(everything && { detail: detailOf(path, memory?.stat ?? '', nowMs, isContainer) }),
    };
  }

  /** Of a process in the pod's network namespace: descriptors kept open would keep the namespace. */
  function readInterfaces({ sandbox }: PodTarget): InterfaceCounters[] | undefined {
    const pid = pids.get(sandbox.id) ?? sampler.processes(sandbox.path).find((one) => one > 0);
    if (pid === undefined) return undefined;
    const text = readKernelFile(join(options.procRoot, String(pid), 'net/dev'));
    if (text === undefined) pids.delete(sandbox.id);
    else pids.set(sandbox.id, pid);
    return text === undefined ? undefined : parseNetDev(text).filter(({ name }) => !isIgnoredInterface(name));
  }

  /** Services outside of pods, where they have cgroups of their own. */
  function systemCgroups(nowMs: number) {
    if (system && nowMs < system.untilMs) return system.found;
    const read = (...path: string[]) => readKernelFile(join(options.procRoot, ...path)) ?? '';
    const cgroupOf = (pid: string) => parseProcessCgroup(read(pid, 'cgroup').slice(1), sampler.version);
    const enginePid = readKernelFile(options.enginePidFile)?.trim();
    const isEngine = enginePid !== undefined && /^\d+$/.test(enginePid) && read(enginePid, 'comm').trim() === 'dockerd';
    const paths: [SystemReading['name'], string | undefined][] = [
      ['kubelet', options.kubeletCgroup || cgroupOf('self')],
      ['runtime', isEngine ? cgroupOf(enginePid) : undefined],
      ['misc', options.systemCgroup || undefined],
      ['pods', options.kubepodsPath],
    ];
    const found = paths.flatMap(([name, path]) => (path === undefined ? [] : [{ name, path }]));
    system = { found, untilMs: nowMs + SYSTEM_MS };
    return found;
  }

  /** The root of cgroup v2 tells no usage; what is used is what is not free, as runc reckons. */
  function readRoot(depth: PassDepth, nowMs: number, host: HostReading): CgroupReading {
    const root = readCgroup('/', depth, nowMs, (host.swapTotalBytes ?? 0) > 0);
    const { memoryTotalBytes: total, memoryFreeBytes: free } = host;
    if (root.memory || total === undefined || free === undefined) return root;
    return { ...root, memory: sampler.rootMemory(total - free) };
  }

  return {
    *run(depth: PassDepth): Generator<void, NodeReading> {
      const host = readHost(options.procRoot, depth === 'usage');
      const hasSwap = (host.swapTotalBytes ?? 0) > 0;
      const paths = new Set(['/']);
      const read = (path: string, isContainer = false) => {
        paths.add(path);
        return readCgroup(path, depth, clock.monotonicMs(), hasSwap, isContainer);
      };
      const root = readRoot(depth, clock.monotonicMs(), host);
      const services = systemCgroups(clock.monotonicMs()).flatMap(({ name, path }) => {
        const reading = read(path);
        return reading.memory || reading.cpu ? [{ name, path, ...reading }] : [];
      });
      yield;
      const pods: PodReading[] = [];
      for (const target of targets()) {
        const interfaces = depth === 'usage' || target.hostNetwork ? undefined : readInterfaces(target);
        pods.push({
          target,
          ...read(target.path),
          containers: target.containers.map((container) => ({ target: container, ...read(container.path, true) })),
          ...(depth === 'everything' && {
            sandbox: { target: target.sandbox, ...read(target.sandbox.path) },
          }),
          ...(interfaces && { interfaces }),
        });
        paths.add(target.sandbox.path);
        yield;
      }
      forget(paths, new Set(pods.map(({ target }) => target.sandbox.id)));
      return { timeMs: clock.nowMs(), depth, root, host, system: services, pods };
    },
  };

  function forget(paths: Set<string>, sandboxes: Set<string>) {
    for (const id of pids.keys()) if (!sandboxes.has(id)) pids.delete(id);
    const gone = [...known].some((path) => !paths.has(path));
    known = paths;
    if (!gone) return;
    sampler.retain(paths);
    rates.retain(paths);
    for (const path of limits.keys()) if (!paths.has(path)) limits.delete(path);
    for (const path of details.keys()) if (!paths.has(path)) details.delete(path);
  }
}
