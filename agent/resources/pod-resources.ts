import type { Pod } from '../../src/kube/types.ts';
import type { Cgroups } from '../../src/linux/cgroup/cgroups.ts';
import type { SystemdSlices } from '../../src/linux/cgroup/systemd.ts';
import type { CgroupLimits } from '../../src/linux/cgroup/values.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { PodResources } from '../pods/resource-ports.ts';
import {
  type CgroupDriver,
  type CgroupName,
  cgroupPath,
  dockerCgroupParent,
  KUBEPODS,
  podCgroup,
  qosCgroup,
  sliceName,
  uidOfCgroup,
} from './cgroup-names.ts';
import { type CgroupSettings, computeKubepodsLimits, computePodLimits, computeQosLimits } from './cgroup-plan.ts';
import { computeContainerLimits, computeContainerResources } from './container-resources.ts';
import type { NodeResources } from './node-resources.ts';
import { computeOomScoreAdj } from './oom-score.ts';
import { podQosClass, type QosClass } from './qos.ts';

export interface PodResourcesOptions extends CgroupSettings {
  /** Docker's driver (`/info`). */
  driver: CgroupDriver;
  /** KubeletConfiguration.cgroupRoot: where `kubepods` hangs below the cgroup mounts. '/' unless said. */
  cgroupRoot?: string;
  capacity: NodeResources;
  /** Capacity less reservations: what all pods together may use. */
  unreserved: NodeResources;
  allocatable: NodeResources;
  /** enforceNodeAllocatable holds `pods`: all pods together get what is not reserved, else the whole capacity. */
  enforcePods: boolean;
  /** qosReserved.memory: percent of the higher classes' memory requests that the lower ones must leave. */
  reservedMemoryPercent?: number;
  /** False: this host refuses negative oom_score_adj values, so they are raised to 0. */
  canLowerOomScore: boolean;
  /** Whether a container of the pod has CPUs of its own: a quota on the pod would throttle it there. */
  hasExclusiveCpus?(uid: string): boolean;
}

export interface PodResourcesDeps {
  cgroups: Cgroups;
  /** Needed with the systemd driver. */
  slices?: SystemdSlices;
}

export interface NodePodResources extends PodResources {
  /**
   * Makes `kubepods` and its QoS children with their limits. Before the first pod. A limit that the kernel refuses because more is in
   * use already is left out: see `enforceNode`.
   */
  ensureNode(): Promise<void>;
  /** Writes those limits again, whatever they were, to correct drift. Throws when one does not hold (yet). */
  enforceNode(): Promise<void>;
  /** What all pods together keep from being reclaimed (MemoryQoS): for sure, and unless nothing else is left. */
  protectedMemory(): { minBytes: number; lowBytes: number };
  /** Removes `kubepods` with everything in it: `berth down`. */
  removeAll(): Promise<void>;
}

const QOS_CLASSES: readonly QosClass[] = ['Guaranteed', 'Burstable', 'BestEffort'];

/** Cgroups and resource settings of this node's pods. State is the kernel's; what is kept here only saves writes. */
export function createPodResources(options: PodResourcesOptions, deps: PodResourcesDeps): NodePodResources {
  const { cgroups, slices } = deps;
  const { driver } = options;
  if (driver === 'systemd' && !slices) throw new Error("Docker's systemd cgroup driver needs a systemd connection");
  const root: CgroupName = (options.cgroupRoot ?? '/').split('/').filter(Boolean);
  const pathOf = (name: CgroupName) => cgroupPath(driver, [...root, ...name]);
  const containerPath = (pod: Pod, id: string) =>
    `${pathOf(podCgroup(podQosClass(pod), pod.metadata.uid))}/${driver === 'systemd' ? `docker-${id}.scope` : id}`;
  const hugepageSizes = [...options.capacity.hugepages.keys()];
  /** Pods whose cgroup we made: for the shares of the Burstable class. */
  const pods = new Map<string, Pod>();
  /** Last written limits by path, so that a resync without change writes nothing. */
  const written = new Map<string, string>();

  /** `again`: the files are written though nothing has changed; systemd has not forgotten what it was told. */
  async function ensure(name: CgroupName, limits: CgroupLimits, again = false) {
    const path = pathOf(name);
    const text = JSON.stringify(limits);
    const isKnown = written.get(path) === text && (await cgroups.exists(path));
    if (isKnown && !again) return;
    if (!isKnown) await slices?.ensure(sliceName([...root, ...name]), limits);
    // Also where systemd owns it: huge pages and v1's cpuset are nothing that systemd sets (runc does the same).
    await cgroups.ensure(path, limits);
    written.set(path, text);
  }

  function settingsFor(pod: Pod): CgroupSettings {
    return options.hasExclusiveCpus?.(pod.metadata.uid) ? { ...options, cpuCfsQuota: false } : options;
  }

  async function remove(name: CgroupName) {
    const path = pathOf(name);
    for (const known of written.keys()) if (known === path || known.startsWith(`${path}/`)) written.delete(known);
    if (slices) await slices.stop(sliceName([...root, ...name]));
    await cgroups.remove(path);
  }

  let kept = { minBytes: 0, lowBytes: 0 };
  /** Limits of `kubepods` and the two QoS classes below it, for the pods of this moment. */
  async function nodeLimits(): Promise<[CgroupName, CgroupLimits][]> {
    const available = options.enforcePods ? options.unreserved : options.capacity;
    const qos = computeQosLimits(pods.values(), {
      hugepageSizesBytes: hugepageSizes,
      v2: options.v2,
      ...(options.reservedMemoryPercent !== undefined && {
        reserved: { memoryPercent: options.reservedMemoryPercent, memoryBytes: options.unreserved.memoryBytes },
      }),
    });
    for (const [name, limits] of [['Burstable', qos.burstable] as const, ['BestEffort', qos.besteffort] as const])
      if (limits.memoryBytes !== undefined)
        // A class above its limit must not grow; to get it below is the eviction's business, not the OOM killer's.
        limits.memoryBytes = Math.max(Number(limits.memoryBytes), (await usedBytes(pathOf(qosCgroup(name)))) ?? 0);
    kept = { minBytes: qos.kubepods.memoryMinBytes ?? 0, lowBytes: qos.kubepods.memoryLowBytes ?? 0 };
    return [
      [KUBEPODS, { ...computeKubepodsLimits(available), ...qos.kubepods }],
      [qosCgroup('Burstable'), qos.burstable],
      [qosCgroup('BestEffort'), qos.besteffort],
    ];
  }

  /** Memory that a cgroup has, page cache too; undefined when it is not there. */
  async function usedBytes(path: string): Promise<number | undefined> {
    const file = cgroups.version === 1 ? 'memory.usage_in_bytes' : 'memory.current';
    const text = await cgroups.read(path, 'memory', file);
    return text === undefined ? undefined : Number(text);
  }

  /** v2 takes a limit below what is in use and kills for it, where v1 refuses: here neither kills. */
  async function assertFits(name: CgroupName, { memoryBytes = 'max' }: CgroupLimits): Promise<void> {
    if (cgroups.version === 1 || memoryBytes === 'max') return;
    const bytes = (await usedBytes(pathOf(name))) ?? 0;
    if (bytes > memoryBytes)
      throw new Error(`cannot limit cgroup ${pathOf(name)} to ${memoryBytes} bytes of memory: ${bytes} are in use`, {
        cause: { code: 'EBUSY' },
      });
  }

  /** One at a time: two pods that start together must not leave the older sum behind. */
  let shared: Promise<void> = Promise.resolve();
  function inTurn(next: () => Promise<void>): Promise<void> {
    shared = shared.then(next, next);
    return shared;
  }

  const ensureNode = () =>
    inTurn(async () => {
      for (const [name, limits] of await nodeLimits()) {
        try {
          await assertFits(name, limits);
          await ensure(name, limits);
        } catch (error) {
          if (!isBusy(error)) throw error;
          const { memoryBytes: _, ...others } = limits;
          await ensure(name, others);
        }
      }
    });

  return {
    protectedMemory: () => kept,
    ensureNode,
    enforceNode: () =>
      inTurn(async () => {
        for (const [name, limits] of await nodeLimits()) {
          await assertFits(name, limits);
          await ensure(name, limits, true);
        }
      }),
    async ensurePod(pod) {
      if (pods.get(pod.metadata.uid) !== pod) {
        pods.set(pod.metadata.uid, pod);
        await ensureNode();
      }
      await ensure(
        podCgroup(podQosClass(pod), pod.metadata.uid),
        computePodLimits(pod, settingsFor(pod), hugepageSizes),
      );
    },
    podExists: (pod) => cgroups.exists(pathOf(podCgroup(podQosClass(pod), pod.metadata.uid))),
    async removePod(uid) {
      const pod = pods.get(uid);
      pods.delete(uid);
      const classes = pod ? [podQosClass(pod)] : QOS_CLASSES;
      await runAll(
        `cgroup of pod ${uid}`,
        classes.map((qos) => () => remove(podCgroup(qos, uid))),
      );
      if (pod) await ensureNode();
    },
    async retain(uids) {
      for (const uid of pods.keys()) if (!uids.has(uid)) pods.delete(uid);
      await runAll(
        'cgroups of pods that are gone',
        QOS_CLASSES.map((qos) => async () => {
          for (const directory of await cgroups.children(pathOf(qosCgroup(qos)))) {
            const uid = uidOfCgroup(driver, directory);
            if (uid !== undefined && !uids.has(uid)) await remove(podCgroup(qos, uid));
          }
        }),
      );
    },
    async removeAll() {
      pods.clear();
      await remove(KUBEPODS);
      written.clear();
    },
    cgroupParent: (pod) => dockerCgroupParent(driver, [...root, ...podCgroup(podQosClass(pod), pod.metadata.uid)]),
    containerProcesses: (pod, containerId) => cgroups.processes(containerPath(pod, containerId)),
    oomScoreAdj(pod, container) {
      const score = computeOomScoreAdj(pod, container, options.capacity.memoryBytes);
      return options.canLowerOomScore ? score : Math.max(0, score);
    },
    containerResources: (pod, container) => computeContainerResources(pod, container, options),
    memoryInUseBytes: (pod, containerId) =>
      usedBytes(containerId ? containerPath(pod, containerId) : pathOf(podCgroup(podQosClass(pod), pod.metadata.uid))),
    async limitContainer(pod, container, containerId) {
      const limits = computeContainerLimits(pod, container, options, hugepageSizes);
      if (Object.keys(limits).length > 0) await cgroups.update(containerPath(pod, containerId), limits);
    },
    async groupKills(uid) {
      if (!options.v2 || options.v2.singleProcessOomKill) return undefined;
      const pod = pods.get(uid);
      for (const qos of pod ? [podQosClass(pod)] : QOS_CLASSES) {
        const text = await cgroups.read(pathOf(podCgroup(qos, uid)), 'memory', 'memory.events');
        const count = /^oom_group_kill (\d+)$/m.exec(text ?? '')?.[1];
        if (count !== undefined) return Number(count);
      }
      return undefined;
    },
    nodeAllocatable: () => ({
      cpuMillis: options.allocatable.cpuMillis,
      memoryBytes: options.allocatable.memoryBytes,
      ephemeralStorageBytes: options.allocatable.ephemeralStorageBytes,
    }),
  };
}

/** v1 refuses a memory limit below what is in use. */
function isBusy(error: unknown): boolean {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'EBUSY';
}
