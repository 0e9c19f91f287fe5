import type { Pod } from '../../src/kube/types.ts';
import type { Cgroups } from '../../src/linux/cgroup/cgroups.ts';
import type { SystemdSlices } from '../../src/linux/cgroup/systemd.ts';
import type { CgroupLimits } from '../../src/linux/cgroup/values.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { PodResources } from '../pods/ports.ts';
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
import { computeContainerResources } from './container-resources.ts';
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
  /** enforceNodeAllocatable holds `pods`. */
  enforcePods: boolean;
  /** False: this host refuses negative oom_score_adj values, so they are raised to 0. */
  canLowerOomScore: boolean;
}

export interface PodResourcesDeps {
  cgroups: Cgroups;
  /** Needed with the systemd driver. */
  slices?: SystemdSlices;
}

export interface NodePodResources extends PodResources {
  /** Makes `kubepods` and its QoS children with their limits. Before the first pod; again to correct drift. */
  ensureNode(): Promise<void>;
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
  const hugepageSizes = [...options.capacity.hugepages.keys()];
  /** Pods whose cgroup we made: for the shares of the Burstable class. */
  const pods = new Map<string, Pod>();
  /** Last written limits by path, so that a resync without change writes nothing. */
  const written = new Map<string, string>();

  async function ensure(name: CgroupName, limits: CgroupLimits) {
    const path = pathOf(name);
    const text = JSON.stringify(limits);
    if (written.get(path) === text && (await cgroups.exists(path))) return;
    await slices?.ensure(sliceName([...root, ...name]), limits);
    // Also where systemd owns it: huge pages and v1's cpuset are nothing that systemd sets (runc does the same).
    await cgroups.ensure(path, limits);
    written.set(path, text);
  }

  async function remove(name: CgroupName) {
    const path = pathOf(name);
    for (const known of written.keys()) if (known === path || known.startsWith(`${path}/`)) written.delete(known);
    if (slices) await slices.stop(sliceName([...root, ...name]));
    await cgroups.remove(path);
  }

  /** One at a time: two pods that start together must not leave the older sum behind. */
  let shared: Promise<void> = Promise.resolve();
  function ensureNode(): Promise<void> {
    const next = async () => {
      await ensure(KUBEPODS, computeKubepodsLimits(options.unreserved, options.enforcePods));
      const { burstable, besteffort } = computeQosLimits(pods.values());
      await ensure(qosCgroup('Burstable'), burstable);
      await ensure(qosCgroup('BestEffort'), besteffort);
    };
    shared = shared.then(next, next);
    return shared;
  }

  return {
    ensureNode,
    async ensurePod(pod) {
      if (pods.get(pod.metadata.uid) !== pod) {
        pods.set(pod.metadata.uid, pod);
        await ensureNode();
      }
      await ensure(podCgroup(podQosClass(pod), pod.metadata.uid), computePodLimits(pod, options, hugepageSizes));
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
    containerProcesses(pod, containerId) {
      const parent = pathOf(podCgroup(podQosClass(pod), pod.metadata.uid));
      return cgroups.processes(`${parent}/${driver === 'systemd' ? `docker-${containerId}.scope` : containerId}`);
    },
    oomScoreAdj(pod, container) {
      const score = computeOomScoreAdj(pod, container, options.capacity.memoryBytes);
      return options.canLowerOomScore ? score : Math.max(0, score);
    },
    containerResources: (pod, container) => computeContainerResources(pod, container, options),
    nodeAllocatable: () => ({
      cpuMillis: options.allocatable.cpuMillis,
      memoryBytes: options.allocatable.memoryBytes,
      ephemeralStorageBytes: options.allocatable.ephemeralStorageBytes,
    }),
  };
}
