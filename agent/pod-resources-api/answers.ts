import type {
  AllocatableResources,
  ContainerDevices,
  ContainerMemory,
  PodResources,
} from '../../src/grpc/pod-resources.ts';
import type { Container, Pod } from '../../src/kube/types.ts';

/** What containers hold of the node (implemented by the managers of CPUs, memory and devices; absent: nobody gives it out). */
export interface Holdings {
  devices?: {
    ofContainer(podUid: string, container: string): ContainerDevices[];
    /** What can be given at all, whoever has it now. */
    allocatable(): ContainerDevices[];
  };
  cpus?: {
    /** Its own ones. */
    ofContainer(podUid: string, container: string): Iterable<number>;
    allocatable(): Iterable<number>;
  };
  memory?: {
    ofContainer(podUid: string, container: string): ContainerMemory[];
    allocatable(): ContainerMemory[];
  };
}

const isOver = ({ status }: Pod) => status?.phase === 'Succeeded' || status?.phase === 'Failed';
const ascending = (numbers: Iterable<number> = []) => [...numbers].sort((left, right) => left - right);

/** Pods that are not over, with what their lasting containers (sidecars and regular ones) hold. Pure. */
export function listPodResources(pods: readonly Pod[], holdings: Holdings): PodResources[] {
  return pods.filter((pod) => !isOver(pod)).map((pod) => describePodResources(pod, holdings));
}

export function describePodResources(pod: Pod, holdings: Holdings): PodResources {
  const { uid, name, namespace = 'default' } = pod.metadata;
  const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  return {
    name,
    namespace,
    containers: [...sidecars, ...pod.spec.containers].map((container: Container) => ({
      name: container.name,
      devices: holdings.devices?.ofContainer(uid, container.name) ?? [],
      cpuIds: ascending(holdings.cpus?.ofContainer(uid, container.name)),
      memory: holdings.memory?.ofContainer(uid, container.name) ?? [],
    })),
  };
}

export function describeAllocatable({ devices, cpus, memory }: Holdings): AllocatableResources {
  return {
    devices: devices?.allocatable() ?? [],
    cpuIds: ascending(cpus?.allocatable()),
    memory: memory?.allocatable() ?? [],
  };
}
