import type { PodAddress, PortmapConfig } from './mapping.ts';

/** How host ports are written into the kernel. What belongs to a container is found again by network and container id. */
export interface PortmapBackend {
  /** Maps the ports to the addresses; what an earlier call left of this container goes in the same transaction. */
  add(config: PortmapConfig, containerId: string, addresses: readonly PodAddress[]): Promise<void>;
  /** Whoever made it, this plugin or the reference one. Nothing to do is no error. */
  remove(network: string, containerId: string): Promise<void>;
  /** @throws Error that names what is missing. */
  check(config: PortmapConfig, containerId: string, addresses: readonly PodAddress[]): Promise<void>;
  /** Removes what containers of the network have that are not to be kept. */
  collect(network: string, keep: (containerId: string) => boolean): Promise<void>;
  close(): void;
}
