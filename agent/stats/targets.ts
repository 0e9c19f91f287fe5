import type { Pod } from '../../src/kube/types.ts';
import { formatContainerName, SANDBOX_CONTAINER_NAME } from '../containers/identity.ts';
import type { ContainerRuntimeStatus, PodDirectory, SandboxStatus } from '../pods/ports.ts';
import { type CgroupDriver, type CgroupName, cgroupPath, podCgroup } from '../resources/cgroup-names.ts';
import { podQosClass } from '../resources/qos.ts';

/** A container that runs, and where its figures are. */
export interface ContainerTarget {
  id: string;
  /** The spec's; `POD` for the sandbox. */
  name: string;
  /** The Engine's. */
  dockerName: string;
  image: string;
  /** Of its cgroup, below the mounts. */
  path: string;
  startedAtMs: number;
}

/** A pod that has a sandbox now. */
export interface PodTarget {
  pod: Pod;
  uid: string;
  name: string;
  namespace: string;
  path: string;
  hostNetwork: boolean;
  startedAtMs: number;
  sandbox: ContainerTarget;
  /** Those that run, in the order of their names. */
  containers: ContainerTarget[];
  /** By name, all of whose logs are there still: also what has ended. */
  ended: { id: string; name: string }[];
}

export interface TargetOptions {
  driver: CgroupDriver;
  cgroupRoot: string;
  pauseImage: string;
}

/** Lists what is to be measured. What does not change about a container or a pod is worked out once. */
export function createTargets(options: TargetOptions, pods: Pick<PodDirectory, 'list' | 'runtime'>): () => PodTarget[] {
  const root: CgroupName = options.cgroupRoot.split('/').filter(Boolean);
  let podPaths = new Map<string, string>();
  let containers = new Map<string, ContainerTarget>();
  return () => {
    const [nextPaths, nextContainers] = [new Map<string, string>(), new Map<string, ContainerTarget>()];
    const targets: PodTarget[] = [];
    for (const pod of pods.list()) {
      const { uid, name, namespace = '' } = pod.metadata;
      const runtime = pods.runtime(uid);
      const sandbox = runtime?.sandboxes.find(({ state }) => state === 'running');
      if (!runtime || !sandbox) continue;
      // A pod's class never changes.
      const path = podPaths.get(uid) ?? cgroupPath(options.driver, [...root, ...podCgroup(podQosClass(pod), uid)]);
      nextPaths.set(uid, path);
      const targetOf = (container: SandboxStatus | ContainerRuntimeStatus): ContainerTarget => {
        const isContainer = 'name' in container;
        const known = containers.get(container.id);
        const target: ContainerTarget = known ?? {
          id: container.id,
          name: isContainer ? container.name : SANDBOX_CONTAINER_NAME,
          image: isContainer ? container.image : options.pauseImage,
          dockerName: formatContainerName({
            podName: name,
            podNamespace: namespace,
            podUid: uid,
            container: isContainer ? container.name : SANDBOX_CONTAINER_NAME,
            attempt: isContainer ? container.restartCount : container.attempt,
          }),
          path: `${path}/${options.driver === 'systemd' ? `docker-${container.id}.scope` : container.id}`,
          startedAtMs: container.createdAtMs,
        };
        if (isContainer && container.startedAtMs !== undefined) target.startedAtMs = container.startedAtMs;
        nextContainers.set(container.id, target);
        return target;
      };
      targets.push({
        pod,
        uid,
        name,
        namespace,
        path,
        hostNetwork: sandbox.hostNetwork,
        startedAtMs: sandbox.createdAtMs,
        sandbox: targetOf(sandbox),
        containers: runtime.containers
          .filter(({ state }) => state === 'running')
          .map(targetOf)
          .sort((one, other) => (one.name < other.name ? -1 : 1)),
        ended: runtime.containers.filter(({ state }) => state !== 'running').map(({ id, name }) => ({ id, name })),
      });
    }
    podPaths = nextPaths;
    containers = nextContainers;
    return targets;
  };
}
