import { type DevicePluginOptions, HEALTHY, type ListedDevice } from '../../../src/grpc/device-plugin.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { PluginConnection } from './plugin-connection.ts';

/** A device as its plugin lists it. */
export interface Device {
  readonly isHealthy: boolean;
  /** NUMA nodes that it is near to; undefined: the plugin says nothing of it. */
  readonly numaNodes?: readonly number[];
}

export type Devices = ReadonlyMap<string, Device>;

export interface ConnectedPlugin {
  readonly connection: PluginConnection;
  readonly options: DevicePluginOptions;
}

interface Entry {
  devices: Devices;
  plugin?: ConnectedPlugin;
  /** Of the plugin, also while it is away; undefined: it has not been here since the agent was started. */
  options?: DevicePluginOptions;
  /** The plugin is gone since then. */
  stoppedAtMs?: number;
}

/** Amounts of extended resources by name. */
export type ExtendedAmounts = ReadonlyMap<string, number>;

/** Upstream's endpointStopGracePeriod: so long a plugin may be away until its resource is taken from the node. */
export const STOP_GRACE_MS = 300_000;

/** What the device plugins of this node have: their resources, the devices of each, and who is there. */
export function createInventory({ clock }: { clock: Clock }) {
  const entries = new Map<string, Entry>();
  /** Were there once; the node goes on showing them as 0, so that nobody takes them for somebody else's. */
  const gone = new Set<string>();

  function ofDevices(listed: readonly ListedDevice[]): Devices {
    const devices = new Map<string, Device>();
    for (const { id, health, topology } of listed) {
      if (id === '') continue;
      const numaNodes = topology?.nodes.map((node) => node.id);
      devices.set(id, { isHealthy: health === HEALTHY, ...(numaNodes && { numaNodes }) });
    }
    return devices;
  }

  function healthy(resource: string): string[] {
    const entry = entries.get(resource);
    if (!entry?.plugin) return [];
    return [...entry.devices].filter(([, { isHealthy }]) => isHealthy).map(([id]) => id);
  }

  return {
    /** Resources of an earlier life of this agent: nothing can be given of them until their plugins have come back. */
    recall(resources: Iterable<string>): void {
      for (const resource of resources)
        if (!entries.has(resource)) entries.set(resource, { devices: new Map(), stoppedAtMs: clock.monotonicMs() });
    },

    /** @returns the plugin that it takes the place of */
    connected(resource: string, plugin: ConnectedPlugin): ConnectedPlugin | undefined {
      const before = entries.get(resource);
      entries.set(resource, { devices: before?.devices ?? new Map(), plugin, options: plugin.options });
      return before?.plugin;
    },

    /** @returns ids of devices whose health is otherwise than it was, or unknown before; of those that are gone, too */
    listed(resource: string, plugin: ConnectedPlugin, list: readonly ListedDevice[]): string[] {
      const entry = entries.get(resource);
      if (entry?.plugin !== plugin) return [];
      const before = entry.devices;
      entry.devices = ofDevices(list);
      gone.delete(resource);
      const ids = new Set([...before.keys(), ...entry.devices.keys()]);
      return [...ids].filter((id) => before.get(id)?.isHealthy !== entry.devices.get(id)?.isHealthy);
    },

    /** @returns false when another plugin has taken its place already */
    disconnected(resource: string, plugin: ConnectedPlugin): boolean {
      const entry = entries.get(resource);
      if (entry?.plugin !== plugin) return false;
      entries.set(resource, { devices: entry.devices, options: plugin.options, stoppedAtMs: clock.monotonicMs() });
      return true;
    },

    /** Forgets the resources whose plugins have been away for too long. @returns their names */
    expire(): string[] {
      const expired = [...entries].filter(
        ([, { stoppedAtMs }]) => stoppedAtMs !== undefined && clock.monotonicMs() - stoppedAtMs >= STOP_GRACE_MS,
      );
      for (const [resource] of expired) {
        entries.delete(resource);
        gone.add(resource);
      }
      return expired.map(([resource]) => resource);
    },

    /** A plugin brings it, or did until a moment ago. */
    has: (resource: string): boolean => entries.has(resource),
    plugin: (resource: string): ConnectedPlugin | undefined => entries.get(resource)?.plugin,
    options: (resource: string): DevicePluginOptions | undefined => entries.get(resource)?.options,
    devices: (resource: string): Devices => entries.get(resource)?.devices ?? new Map(),
    /** Ids of what can be given; nothing while the plugin is away. */
    healthy,
    resources: (): string[] => [...entries.keys()].sort(),

    /** For the node: everything that is listed, and what of it can be given. */
    amounts(): { capacity: ExtendedAmounts; allocatable: ExtendedAmounts } {
      const capacity = new Map<string, number>();
      const allocatable = new Map<string, number>();
      for (const resource of [...entries.keys(), ...gone].sort()) {
        capacity.set(resource, entries.get(resource)?.devices.size ?? 0);
        allocatable.set(resource, healthy(resource).length);
      }
      return { capacity, allocatable };
    },
  };
}

export type Inventory = ReturnType<typeof createInventory>;
