import { connectGrpc, type GrpcClient } from '../../../src/grpc/client.ts';
import { csiIdentity, csiNode, NODE_CAPABILITY, type NodeInfo } from '../../../src/grpc/csi.ts';
import type { PluginInfo } from '../../../src/grpc/plugin-registration.ts';
import type { PluginHandler } from '../../plugins/plugin-watcher.ts';

/** A driver that runs on this node. */
export interface CsiDriver {
  readonly name: string;
  readonly client: GrpcClient;
  has(capability: keyof typeof NODE_CAPABILITY): boolean;
}

/** Tells the cluster which drivers are here. */
export interface CsiNodeRecord {
  add(driver: string, info: NodeInfo): Promise<void>;
  remove(driver: string): Promise<void>;
}

export interface CsiDrivers extends PluginHandler {
  /** Throws when no driver of the name is registered (now). */
  get(name: string): CsiDriver;
  onRegistered(handler: (driver: CsiDriver) => void): void;
}

const CALL = { timeoutMs: 15_000 };

/** The CSI drivers of this node, as they come and go. */
export function createCsiDrivers({ record }: { record: CsiNodeRecord }): CsiDrivers {
  const drivers = new Map<string, CsiDriver>();
  const handlers = new Set<(driver: CsiDriver) => void>();

  return {
    type: 'CSIPlugin',

    async register({ name, endpoint, supportedVersions }: PluginInfo, signal) {
      if (!supportedVersions.some((version) => /^v?1\.\d+(?:\.\d+)?$/.test(version)))
        throw new Error(
          `RegisterPlugin error -- failed to register CSI plugin ${name} at ${endpoint}: none of its versions (${supportedVersions.join(', ')}) is a 1.x of the Container Storage Interface`,
        );
      const client = connectGrpc(endpoint);
      try {
        const call = { ...CALL, signal };
        const { ready } = await client.call(csiIdentity.probe, {}, call);
        if (ready?.value === false) throw new Error(`CSI driver ${name} is not ready yet`);
        const info = await client.call(csiNode.getInfo, {}, call);
        if (!info.nodeId) throw new Error(`CSI driver ${name} tells no node id`);
        const { capabilities } = await client.call(csiNode.getCapabilities, {}, call);
        const types = new Set(capabilities.map(({ rpc }) => rpc?.type));
        await record.add(name, info);
        drivers.get(name)?.client.close();
        const driver: CsiDriver = { name, client, has: (capability) => types.has(NODE_CAPABILITY[capability]) };
        drivers.set(name, driver);
        for (const handler of handlers) handler(driver);
      } catch (error) {
        client.close();
        throw error;
      }
    },

    async deregister(name) {
      drivers.get(name)?.client.close();
      drivers.delete(name);
      await record.remove(name);
    },

    get(name) {
      const driver = drivers.get(name);
      if (!driver) throw new Error(`driver name ${name} not found in the list of registered CSI drivers`);
      return driver;
    },

    onRegistered: (handler) => {
      handlers.add(handler);
    },
  };
}
