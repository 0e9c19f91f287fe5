import { connectGrpc } from '../../../src/grpc/client.ts';
import {
  type ContainerAllocateResponse,
  type DevicePluginOptions,
  devicePlugin,
  type ListedDevice,
} from '../../../src/grpc/device-plugin.ts';

/** One device plugin, as long as it is registered. Calls throw GrpcError. */
export interface PluginConnection {
  options(signal: AbortSignal): Promise<DevicePluginOptions>;
  /** Its devices now, and again whenever something about them has changed; ends when the plugin goes away. */
  devices(signal: AbortSignal): AsyncIterable<readonly ListedDevice[]>;
  /** Which of the available ones it would rather give, those that must be among them included. */
  preferred(available: readonly string[], mustInclude: readonly string[], size: number): Promise<string[]>;
  /** Prepares the devices for a container. @returns undefined when the plugin answered without a response */
  allocate(ids: readonly string[]): Promise<ContainerAllocateResponse | undefined>;
  preStart(ids: readonly string[]): Promise<void>;
  close(): void;
}

/** As long as upstream waits for a plugin that registers to answer. */
const DIAL_MS = 10_000;
/** Upstream's KubeletPreStartContainerRPCTimeoutInSecs. */
const PRE_START_MS = 30_000;
/** Upstream waits for ever, and with it every pod that wants to come in after. */
const ALLOCATE_MS = 120_000;

/** @param socketPath of the plugin's own service */
export function connectDevicePlugin(socketPath: string): PluginConnection {
  const client = connectGrpc(socketPath);
  return {
    options: (signal) => client.call(devicePlugin.getOptions, {}, { timeoutMs: DIAL_MS, signal }),
    async *devices(signal) {
      for await (const { devices } of client.stream(devicePlugin.listAndWatch, {}, signal)) yield devices;
    },
    async preferred(available, mustInclude, size) {
      const request = {
        availableDeviceIds: [...available],
        mustIncludeDeviceIds: [...mustInclude],
        allocationSize: size,
      };
      const { containerResponses } = await client.call(
        devicePlugin.getPreferredAllocation,
        { containerRequests: [request] },
        { timeoutMs: ALLOCATE_MS },
      );
      return containerResponses[0]?.deviceIds ?? [];
    },
    async allocate(ids) {
      const { containerResponses } = await client.call(
        devicePlugin.allocate,
        { containerRequests: [{ devicesIds: [...ids] }] },
        { timeoutMs: ALLOCATE_MS },
      );
      return containerResponses[0];
    },
    async preStart(ids) {
      await client.call(devicePlugin.preStartContainer, { devicesIds: [...ids] }, { timeoutMs: PRE_START_MS });
    },
    close: client.close,
  };
}
