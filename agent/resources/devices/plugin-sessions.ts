import type { RegisterRequest } from '../../../src/grpc/device-plugin.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { ConnectedPlugin, Inventory } from './inventory.ts';
import { connectDevicePlugin, type PluginConnection } from './plugin-connection.ts';

export interface PluginSessionsDependencies {
  inventory: Inventory;
  /** A resource's devices, or their health, are otherwise now; `ids`: whose. */
  onChange(resource: string, ids: readonly string[]): void;
  log: Logger;
  /** For tests. */
  connect?(socketPath: string): PluginConnection;
}

interface Session {
  readonly socketPath: string;
  readonly stop: AbortController;
  readonly done: Promise<void>;
}

/** Keeps up with the registered plugins: the newest of each resource is listened to until it goes away. */
export function createPluginSessions({ inventory, onChange, log, ...deps }: PluginSessionsDependencies) {
  const connect = deps.connect ?? connectDevicePlugin;
  const sessions = new Map<string, Session>();
  const all = new Set<Session>();
  const closing = new AbortController();

  /** The inventory follows what the plugin lists, until it ends. */
  async function follow(resource: string, plugin: ConnectedPlugin, signal: AbortSignal): Promise<void> {
    try {
      for await (const devices of plugin.connection.devices(signal)) {
        const changed = inventory.listed(resource, plugin, devices);
        const healthyCount = inventory.healthy(resource).length;
        log[changed.length > 0 ? 'info' : 'debug'](
          { resource, devices: devices.length, healthyCount },
          'devices listed',
        );
        onChange(resource, changed);
      }
      log.warn({ resource }, 'the device plugin has ended its list of devices');
    } catch (error) {
      if (!signal.aborted) log.warn({ resource, err: error }, 'ListAndWatch ended unexpectedly for device plugin');
    } finally {
      plugin.connection.close();
      if (inventory.disconnected(resource, plugin)) {
        if (!closing.signal.aborted) log.warn({ resource }, 'device plugin gone: nothing of its resource can be given');
        onChange(resource, [...inventory.devices(resource).keys()]);
      }
    }
  }

  return {
    /**
     * Connects to a plugin that asks for it, and has its options before it answers.
     * @throws when the plugin does not answer
     */
    async open(resource: RegisterRequest['resourceName'], socketPath: string): Promise<void> {
      closing.signal.throwIfAborted();
      const connection = connect(socketPath);
      let plugin: ConnectedPlugin;
      try {
        plugin = { connection, options: await connection.options(closing.signal) };
      } catch (error) {
        connection.close();
        throw new Error(`failed to get device plugin options: ${(error as Error).message}`, { cause: error });
      }
      const before = sessions.get(resource);
      inventory.connected(resource, plugin);
      const stop = new AbortController();
      const { promise: done, resolve } = Promise.withResolvers<void>();
      const session: Session = { socketPath, stop, done };
      sessions.set(resource, session);
      all.add(session);
      before?.stop.abort();
      log.info({ resource, socketPath, options: plugin.options }, 'device plugin connected');
      follow(resource, plugin, AbortSignal.any([stop.signal, closing.signal])).finally(() => {
        all.delete(session);
        if (sessions.get(resource) === session) sessions.delete(resource);
        resolve();
      });
    },

    /** The plugin behind that socket is gone, or the resource's whoever it is. */
    async close(resource: string, socketPath?: string): Promise<void> {
      const session = sessions.get(resource);
      if (!session || (socketPath !== undefined && session.socketPath !== socketPath)) return;
      session.stop.abort();
      await session.done;
    },

    async closeAll(): Promise<void> {
      closing.abort();
      await Promise.all([...all].map(({ done }) => done));
    },
  };
}

export type PluginSessions = ReturnType<typeof createPluginSessions>;
