import { parseQuantity } from '../../../src/kube/quantity.ts';
import type { Container, Pod, ResourceStatus } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { createCheckpointWriter, loadCheckpoint } from '../checkpoints/checkpoint-file.ts';
import { podRequests } from '../requests.ts';
import { AllocationError, type HintProvider, type TopologyHint } from '../topology/hint-provider.ts';
import { type Allocation, createDeviceAllocations, deviceIdsOf, NO_NODE } from './allocations.ts';
import { parseDeviceCheckpoint, renderDeviceCheckpoint } from './checkpoint.ts';
import { chooseDevices } from './choose-devices.ts';
import { type DeviceOptions, mergeDeviceOptions } from './container-options.ts';
import { computeDeviceHints, hasTopology } from './device-hints.ts';
import type { ConnectedPlugin, ExtendedAmounts, Inventory } from './inventory.ts';
import type { DeviceMetrics } from './metrics.ts';

export interface DeviceManagerDependencies {
  inventory: Inventory;
  /** Of this machine. */
  numaNodes(): readonly number[];
  metrics: DeviceMetrics;
  clock: Clock;
  log: Logger;
}

/** Gives devices to containers, and remembers who has which. */
export function createDeviceManager({ checkpointPath }: { checkpointPath: string }, deps: DeviceManagerDependencies) {
  const { inventory, metrics, clock, log } = deps;
  const allocations = createDeviceAllocations();
  const checkpoint = createCheckpointWriter(checkpointPath, () =>
    renderDeviceCheckpoint({
      entries: [...allocations.entries()],
      registered: new Map(inventory.resources().map((resource) => [resource, inventory.healthy(resource)])),
    }),
  );

  /** Nothing that a pod depends on: the next write has it too. */
  function save(): void {
    checkpoint.save().catch((error) => log.warn({ err: error }, 'the devices of containers could not be written down'));
  }

  /** A plugin brings the resource, or a container holds some of it. */
  const isManaged = (resource: string) => inventory.has(resource) || allocations.isHeld(resource);

  /** Extended resources are limited to what is requested: the limits tell. */
  function wanted(container: Container): [resource: string, amount: number][] {
    return Object.entries(container.resources?.limits ?? {})
      .filter(([resource]) => resource.includes('/') && isManaged(resource))
      .map(([resource, quantity]): [string, number] => [resource, Number(parseQuantity(quantity).value)])
      .filter(([, amount]) => amount > 0);
  }

  function available(resource: string): Set<string> {
    const inUse = allocations.inUse(resource);
    return new Set(inventory.healthy(resource).filter((id) => !inUse.has(id)));
  }

  /** Upstream's decisions: undefined has no preference, empty cannot be had. */
  function hintsFor(
    resource: string,
    requested: number,
    held: readonly string[],
    reusable: ReadonlySet<string>,
  ): TopologyHint[] | undefined {
    const devices = inventory.devices(resource);
    if (!hasTopology(devices)) return undefined;
    const request = { devices, numaNodes: deps.numaNodes(), requested };
    if (held.length > 0)
      return held.length === requested
        ? computeDeviceHints({ ...request, available: new Set(held), reusable: new Set() })
        : [];
    const free = available(resource);
    if (new Set([...free, ...reusable]).size < requested) return [];
    return computeDeviceHints({ ...request, available: free, reusable });
  }

  /** Whether the container holds what it asks for; throws, as upstream's devicesToAllocate, when it never will. */
  function isHeld(pod: Pod, container: Container, resource: string, amount: number): boolean {
    const held = allocations.held(pod.metadata.uid, container.name, resource);
    if (held && held.length !== amount)
      throw new Error(
        `pod "${pod.metadata.uid}" container "${container.name}" changed request for resource "${resource}" from ${held.length} to ${amount}`,
      );
    // Also while its plugin is away: a pod that runs is not asked to leave for that.
    if (held) return true;
    if (!inventory.has(resource)) throw new Error(`cannot allocate unregistered device ${resource}`);
    return false;
  }

  function prefer({ options, connection }: ConnectedPlugin) {
    return async (candidates: readonly string[], mustInclude: readonly string[], size: number) => {
      if (!options.getPreferredAllocationAvailable) return undefined;
      try {
        return await connection.preferred(candidates, mustInclude, size);
      } catch (error) {
        const message = `device plugin GetPreferredAllocation rpc failed with err: ${(error as Error).message}`;
        throw new Error(message, { cause: error });
      }
    };
  }

  async function allocateOne(
    pod: Pod,
    container: Container,
    [resource, amount]: [string, number],
    affinity: TopologyHint,
  ): Promise<Allocation | undefined> {
    if (isHeld(pod, container, resource, amount)) return undefined;
    const plugin = inventory.plugin(resource);
    if (!plugin) throw new Error(`no healthy devices present; cannot allocate unhealthy devices ${resource}`);
    const devices = inventory.devices(resource);
    const ids = await chooseDevices(
      {
        resource,
        required: amount,
        devices,
        healthy: inventory.healthy(resource),
        inUse: allocations.inUse(resource),
        reusable: allocations.reusable(pod, resource),
        affinity: affinity.numaNodes,
      },
      prefer(plugin),
    );
    const startedMs = clock.monotonicMs();
    const response = await plugin.connection
      .allocate(ids)
      .finally(() => metrics.allocation(resource, (clock.monotonicMs() - startedMs) / 1000));
    if (!response) throw new Error(`no containers return in allocation response of device plugin ${resource}`);
    const byNode = new Map<number, string[]>();
    for (const id of ids) {
      const nodes = devices.get(id)?.numaNodes ?? [];
      for (const node of nodes.length > 0 ? nodes : [NO_NODE]) byNode.set(node, [...(byNode.get(node) ?? []), id]);
    }
    return { devices: byNode, response };
  }

  /** All or nothing of what the container asks for; on the disk before anybody relies on it. */
  async function allocate(pod: Pod, container: Container, affinity: TopologyHint): Promise<void> {
    const { uid } = pod.metadata;
    const taken: string[] = [];
    try {
      for (const want of wanted(container)) {
        const allocation = await allocateOne(pod, container, want, affinity);
        if (!allocation) continue;
        allocations.set({ podUid: uid, container: container.name, resource: want[0], ...allocation });
        taken.push(want[0]);
      }
      if (taken.length > 0) await checkpoint.save();
    } catch (error) {
      for (const resource of taken) allocations.unset(uid, container.name, resource);
      throw error;
    }
  }

  /** Upstream's callPreStartContainerIfNeeded; devices that nobody has vouched for since the agent was started are waited for. */
  async function preStart(pod: Pod, container: Container, resource: string): Promise<void> {
    if (!inventory.has(resource)) throw new Error(`endpoint not found in cache for a registered resource: ${resource}`);
    const options = inventory.options(resource);
    if (!options)
      throw new Error(`the device plugin of ${resource} has not registered yet since the agent was started`);
    const held = allocations.held(pod.metadata.uid, container.name, resource) ?? [];
    const plugin = inventory.plugin(resource);
    const missing = plugin ? held.filter((id) => !inventory.devices(resource).has(id)) : [];
    if (missing.length > 0)
      throw new Error(`devices of the container are no longer there: its plugin does not list ${missing.join(', ')}`);
    if (!options.preStartRequired) return;
    try {
      if (!plugin) throw new Error(`endpoint of ${resource} has been stopped`);
      await plugin.connection.preStart(held);
    } catch (error) {
      const message = `device plugin PreStartContainer rpc failed with err: ${(error as Error).message}`;
      throw new Error(message, { cause: error });
    }
  }

  const provider: HintProvider = {
    name: 'devices',
    hints(pod, container) {
      const { uid } = pod.metadata;
      return new Map(
        wanted(container).map(([resource, amount]) => {
          const held = allocations.held(uid, container.name, resource) ?? [];
          return [resource, hintsFor(resource, amount, held, allocations.reusable(pod, resource))];
        }),
      );
    },
    podHints(pod) {
      const { uid } = pod.metadata;
      const names = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].map(({ name }) => name);
      const amounts = Object.entries(podRequests(pod)).filter(
        ([resource, amount]) => resource.includes('/') && amount > 0 && isManaged(resource),
      );
      return new Map(
        amounts.map(([resource, amount]) => {
          const held = new Set(names.flatMap((name) => allocations.held(uid, name, resource) ?? []));
          return [resource, hintsFor(resource, amount, [...held], new Set())];
        }),
      );
    },
    async allocate(pod, container, affinity) {
      try {
        await allocate(pod, container, affinity);
      } catch (error) {
        throw new AllocationError((error as Error).message, { cause: error });
      }
    },
    remove(uid, container) {
      if (allocations.remove(uid, container)) save();
    },
    holders: allocations.uids,
  };

  return {
    provider,

    /**
     * What an earlier life of the agent has given out.
     * @returns false when there is no memory of any
     * @throws CheckpointError
     */
    async restore(): Promise<boolean> {
      const restored = await loadCheckpoint(checkpointPath, parseDeviceCheckpoint, clock.nowMs);
      for (const entry of restored?.entries ?? []) allocations.set(entry);
      inventory.recall(restored?.registered.keys() ?? []);
      return restored !== undefined;
    },

    /**
     * What a container that is about to be made gets with its devices; asks the plugins that want to be asked before.
     * @returns undefined: it has no devices
     * @throws when a plugin refuses, or is away
     */
    async prepare(pod: Pod, container: Container): Promise<DeviceOptions | undefined> {
      const { uid } = pod.metadata;
      const wants = wanted(container);
      if (wants.length === 0) return undefined;
      // Taken over from a life whose memory is lost.
      if (wants.some(([resource]) => !allocations.held(uid, container.name, resource)))
        await allocate(pod, container, { preferred: false });
      for (const [resource] of wants) await preStart(pod, container, resource);
      const { conflicts, ...options } = mergeDeviceOptions(allocations.ofContainer(uid, container.name));
      for (const conflict of conflicts)
        log.warn({ pod: uid, container: container.name, conflict }, 'device plugins contradict each other');
      return options;
    },

    /** Its devices, for the container's status; undefined: it has none. */
    status(uid: string, container: string): ResourceStatus[] | undefined {
      const held = allocations.ofContainer(uid, container);
      if (held.size === 0) return undefined;
      return [...held.keys()].sort().map((name) => ({
        name,
        resources: deviceIdsOf(held.get(name)!).map((id) => {
          const device = inventory.plugin(name) && inventory.devices(name).get(id);
          return { resourceID: id, health: !device ? 'Unknown' : device.isHealthy ? 'Healthy' : 'Unhealthy' };
        }),
      }));
    },

    /** Devices of a container by resource. */
    held: (uid: string, container: string): ReadonlyMap<string, Allocation> => allocations.ofContainer(uid, container),

    /** For the node's status, and for admission: what is given out stays allocatable, even when its plugin is away. */
    amounts: inventory.amounts,
    allocated: (): ExtendedAmounts => allocations.counts(),

    /** Pods that hold one of the devices. */
    holders: (resource: string, ids: readonly string[]): string[] => allocations.holders(resource, new Set(ids)),

    save,
  };
}

export type DeviceManager = ReturnType<typeof createDeviceManager>;
