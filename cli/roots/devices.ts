import { join } from 'node:path';
import { createPluginWatcher } from '../../agent/plugins/plugin-watcher.ts';
import type { Holdings } from '../../agent/pod-resources-api/answers.ts';
import { CDI_DIRECTORIES, createCdiDirectories } from '../../agent/resources/devices/cdi/cdi-directories.ts';
import { createContainerDevices } from '../../agent/resources/devices/container-devices.ts';
import { describeAllocatableDevices, describeHeldDevices } from '../../agent/resources/devices/device-holdings.ts';
import { createDeviceManager } from '../../agent/resources/devices/device-manager.ts';
import { createInventory } from '../../agent/resources/devices/inventory.ts';
import { createDeviceMetrics } from '../../agent/resources/devices/metrics.ts';
import { createPluginSessions } from '../../agent/resources/devices/plugin-sessions.ts';
import { createDevicePluginHandler, createDeviceRegistration } from '../../agent/resources/devices/registration.ts';
import { isExtendedResourceName } from '../../agent/resources/devices/resource-name.ts';
import type { NodeResources } from '../../agent/resources/node-resources.ts';
import type { EngineInfo } from '../../src/docker/engine.ts';
import { parseQuantity } from '../../src/kube/quantity.ts';
import type { Node } from '../../src/kube/types.ts';
import { retry } from '../../src/runtime/backoff.ts';
import { createBoundedRunner } from '../../src/runtime/bounded-runner.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { ProgramContext } from './context.ts';

export interface DevicesPartOptions {
  /** Sockets and the checkpoint are in `<root>/device-plugins`. */
  rootDir: string;
  /** Of the machine. */
  numaNodes: readonly number[];
}

const EXPIRY_MS = 10_000;
/** The first news is told at once, the next ones no sooner than this. */
const NEWS_MS = 1_000;
const LISTEN_RETRY = { initialMs: 1_000, maxMs: 60_000 };

/** Device plugins of this node. @throws CheckpointError when what an earlier life of the agent gave out cannot be read */
export async function openDevices(
  { rootDir, numaNodes }: DevicesPartOptions,
  { registry }: { registry: Registry },
  { log, clock }: ProgramContext,
) {
  const directory = join(rootDir, 'device-plugins');
  const metrics = createDeviceMetrics(registry);
  const inventory = createInventory({ clock });
  const manager = createDeviceManager(
    { checkpointPath: join(directory, 'kubelet_internal_checkpoint') },
    { inventory, numaNodes: () => numaNodes, metrics, clock, log },
  );
  const remembers = await manager.restore();
  const podHandlers = new Set<(uid: string) => void>();
  const nodeHandlers = new Set<() => void>();

  const changedPods = new Set<string>();
  let isChanged = false;

  function changed(resource: string, ids: readonly string[]): void {
    isChanged = true;
    for (const uid of manager.holders(resource, ids)) changedPods.add(uid);
    runner.request();
  }

  /** A plugin that cannot make up its mind must not write as often to the disk and to the API server. */
  const runner = createBoundedRunner({
    clock,
    minIntervalMs: NEWS_MS,
    maxIntervalMs: EXPIRY_MS,
    retryMs: EXPIRY_MS,
    async run() {
      for (const resource of inventory.expire()) {
        log.warn({ resource }, 'no device plugin for five minutes: its resource is taken from the node');
        isChanged = true;
      }
      if (!isChanged) return;
      isChanged = false;
      manager.save();
      for (const handler of nodeHandlers) handler();
      const uids = [...changedPods];
      changedPods.clear();
      for (const uid of uids) for (const handler of podHandlers) handler(uid);
    },
    onError: (error) => log.warn({ err: error }, 'news of devices could not be told'),
  });

  const sessions = createPluginSessions({ inventory, onChange: changed, log });
  const registration = createDeviceRegistration(directory, { sessions, metrics, log });
  const pluginHandler = createDevicePluginHandler({ sessions, metrics, log });
  const holdings: Holdings['devices'] = {
    ofContainer: (uid, container) => describeHeldDevices(manager.held(uid, container)),
    allocatable: () => describeAllocatableDevices(inventory),
  };

  async function run(signal: AbortSignal): Promise<void> {
    const onFailure = (error: unknown, retryMs: number) =>
      log.error({ directory, err: error, retryMs }, 'device plugins cannot register: their socket cannot be made');
    try {
      await retry(() => registration.start(), { ...LISTEN_RETRY, clock, signal, onFailure });
      // From now on this agent is not new here, plugins or not.
      isChanged = true;
      runner.request();
      await runner.run(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await registration.stop();
      await sessions.closeAll();
    }
  }

  return {
    /** For the topology manager. */
    provider: manager.provider,
    /** For pods' status. */
    heldDevices: manager.status,
    pluginHandler,
    holdings,

    /** For the launcher and the agent. */
    ofContainers(engine: Pick<EngineInfo, 'cdiSpecDirs'>) {
      const cdi = createCdiDirectories(CDI_DIRECTORIES, { log });
      return {
        ...createContainerDevices({ manager, cdi, engineHasCdi: engine.cdiSpecDirs.length > 0 }),
        onChange(handler: (uid: string) => void) {
          podHandlers.add(handler);
          return () => podHandlers.delete(handler);
        },
      };
    },

    /** The node's resources with those that plugins bring. */
    withDevices<T extends { capacity: NodeResources; allocatable: NodeResources }>(shares: T): T {
      const { capacity, allocatable } = manager.amounts();
      return {
        ...shares,
        capacity: { ...shares.capacity, extended: capacity },
        allocatable: { ...shares.allocatable, extended: allocatable },
      };
    },

    /**
     * The same for admission: what is given out counts also while its plugin is away, so that pods that have it are not too many; and what
     * somebody else has written into the node's status.
     */
    admissible(allocatable: NodeResources, node: Node | undefined): NodeResources {
      const others = Object.entries(node?.status?.allocatable ?? {}).filter(([name]) => isExtendedResourceName(name));
      const extended = new Map([
        ...others.map(([name, quantity]) => [name, Number(parseQuantity(quantity).value)] as const),
        ...manager.amounts().allocatable,
      ]);
      for (const [resource, count] of manager.allocated())
        if (extended.has(resource)) extended.set(resource, Math.max(count, extended.get(resource)!));
      return { ...allocatable, extended };
    },

    /** This is the first life of the agent on this machine, as far as its files tell. */
    forgotAll: () => !remembers,

    onNodeChange(handler: () => void): void {
      nodeHandlers.add(handler);
    },

    /** @param alone nobody else follows the plugin registry */
    parts(alone: boolean): Record<string, Runnable> {
      const registry = { directory: join(rootDir, 'plugins_registry') };
      return {
        'device plugins': { run },
        ...(alone && { 'plugin registry': createPluginWatcher(registry, { handlers: [pluginHandler], clock, log }) }),
      };
    },
  };
}

export type Devices = Awaited<ReturnType<typeof openDevices>>;
