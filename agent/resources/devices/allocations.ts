import type { ContainerAllocateResponse } from '../../../src/grpc/device-plugin.ts';
import type { Container, Pod } from '../../../src/kube/types.ts';
import { isSidecar } from '../requests.ts';

/** Devices of one resource that a container holds, and what the plugin said it gets with them. */
export interface Allocation {
  /** By NUMA node; -1: nowhere in particular. A device near to several nodes stands under each. */
  readonly devices: ReadonlyMap<number, readonly string[]>;
  readonly response: ContainerAllocateResponse;
}

export interface AllocationEntry extends Allocation {
  readonly podUid: string;
  readonly container: string;
  readonly resource: string;
}

export const NO_NODE = -1;

export function deviceIdsOf({ devices }: Pick<Allocation, 'devices'>): string[] {
  return [...new Set([...devices.values()].flat())].sort();
}

/** Who holds which devices: pod → container → resource. */
export function createDeviceAllocations() {
  const pods = new Map<string, Map<string, Map<string, Allocation>>>();

  function* entries(): Generator<AllocationEntry> {
    for (const [podUid, containers] of pods)
      for (const [container, resources] of containers)
        for (const [resource, allocation] of resources) yield { podUid, container, resource, ...allocation };
  }

  const ofContainer = (uid: string, container: string): ReadonlyMap<string, Allocation> =>
    pods.get(uid)?.get(container) ?? new Map();

  return {
    entries,
    ofContainer,
    /** undefined: the container has nothing of the resource. */
    held(uid: string, container: string, resource: string): string[] | undefined {
      const allocation = ofContainer(uid, container).get(resource);
      return allocation && deviceIdsOf(allocation);
    },
    set({ podUid, container, resource, devices, response }: AllocationEntry): void {
      const containers = pods.get(podUid) ?? new Map<string, Map<string, Allocation>>();
      const resources = containers.get(container) ?? new Map<string, Allocation>();
      resources.set(resource, { devices, response });
      containers.set(container, resources);
      pods.set(podUid, containers);
    },
    unset(uid: string, container: string, resource: string): void {
      const resources = pods.get(uid)?.get(container);
      resources?.delete(resource);
      if (resources?.size === 0) pods.get(uid)?.delete(container);
      if (pods.get(uid)?.size === 0) pods.delete(uid);
    },
    /** @returns whether there was anything to give back */
    remove(uid: string, container?: string): boolean {
      if (container === undefined) return pods.delete(uid);
      const isRemoved = pods.get(uid)?.delete(container) ?? false;
      if (pods.get(uid)?.size === 0) pods.delete(uid);
      return isRemoved;
    },
    uids: (): string[] => [...pods.keys()],
    /** Every device of the resource that somebody holds. */
    inUse(resource: string): Set<string> {
      const ids = new Set<string>();
      for (const entry of entries()) if (entry.resource === resource) for (const id of deviceIdsOf(entry)) ids.add(id);
      return ids;
    },
    isHeld: (resource: string): boolean => entries().some((entry) => entry.resource === resource),
    /** How many devices are held, by resource. */
    counts(): Map<string, number> {
      const held = Map.groupBy(entries(), ({ resource }) => resource);
      return new Map([...held].map(([resource, some]) => [resource, new Set(some.flatMap(deviceIdsOf)).size]));
    },
    holders(resource: string, ids: ReadonlySet<string>): string[] {
      const uids = entries()
        .filter((entry) => entry.resource === resource && deviceIdsOf(entry).some((id) => ids.has(id)))
        .map(({ podUid }) => podUid);
      return [...new Set(uids)];
    },
    /** Devices of init containers that are over before this one starts, less what the pod's lasting containers hold. */
    reusable(pod: Pod, resource: string): Set<string> {
      const of = (containers: readonly Container[]) =>
        containers.flatMap(({ name }) => {
          const allocation = ofContainer(pod.metadata.uid, name).get(resource);
          return allocation ? deviceIdsOf(allocation) : [];
        });
      const init = pod.spec.initContainers ?? [];
      const lasting = new Set(of([...init.filter(isSidecar), ...pod.spec.containers]));
      return new Set(of(init.filter((container) => !isSidecar(container))).filter((id) => !lasting.has(id)));
    },
  };
}

export type DeviceAllocations = ReturnType<typeof createDeviceAllocations>;
