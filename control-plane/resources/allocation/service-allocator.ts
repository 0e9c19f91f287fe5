import type { Service } from '../../../src/kube/types.ts';
import { type AddressBlock, parseBlock } from './cidr.ts';
import { createNumberPool, lowerBandOf } from './number-pool.ts';

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Why an address or a port could not be had, in upstream's words. */
export class AllocationError extends Error {
  override name = 'AllocationError';
}

/** Cluster IPs and node ports, held in memory and rebuilt from the stored Services at start. */
export interface ServiceAllocator {
  readonly addresses: AddressBlock;
  /** The first address of the range: that of the Service `kubernetes`. */
  readonly firstAddress: string;
  /** Takes this address, or any when undefined. Throws AllocationError. */
  takeAddress(address?: string): string;
  releaseAddress(address: string): void;
  /** Takes this port, or any when undefined. A number is one Service's, whatever the protocol, as upstream. Throws AllocationError. */
  takePort(port?: number): number;
  releasePort(port: number): void;
  /** Holds what stored Services have, whatever it is: they were there first. */
  restore(services: readonly Service[]): void;
}

export interface ServiceAllocatorOptions {
  /** `10.96.0.0/12` */
  serviceCidr: string;
  /** 30000–32767 unless said. */
  nodePorts?: PortRange;
  /** In [0, 1); Math.random unless said. */
  random?: () => number;
}

/** Throws when the CIDR is none or too small for the Service `kubernetes` and one more. */
export function createServiceAllocator(options: ServiceAllocatorOptions): ServiceAllocator {
  const { serviceCidr, nodePorts = { first: 30000, last: 32767 }, random = Math.random } = options;
  const block = parseBlock(serviceCidr);
  // Offset 0 is the network; IPv4 has a broadcast address at the end.
  const usable = block.size - (block.family === 'IPv4' ? 2 : 1);
  if (usable < 2)
    throw new Error(`service CIDR ${serviceCidr} has room for ${Math.max(usable, 0)} addresses: two are the least`);
  const addresses = createNumberPool(usable, lowerBandOf(block.size, 16, 256), random);
  const portCount = nodePorts.last - nodePorts.first + 1;
  const ports = createNumberPool(portCount, lowerBandOf(portCount, 32, 128), random);
  const indexOf = (address: string): number | undefined => {
    const offset = block.offsetOf(address);
    return offset === undefined || offset < 1 || offset > usable ? undefined : offset - 1;
  };
  const isNodePort = (port: number) => port >= nodePorts.first && port <= nodePorts.last;
  return {
    addresses: block,
    firstAddress: block.at(1),
    takeAddress(address) {
      if (address === undefined) {
        const index = addresses.takeAny();
        if (index === undefined) throw new AllocationError('range is full');
        return block.at(index + 1);
      }
      const index = indexOf(address);
      if (index === undefined)
        throw new AllocationError(
          `the provided IP (${address}) is not in the valid range. The range of valid IPs is ${serviceCidr}`,
        );
      if (!addresses.take(index)) throw new AllocationError('provided IP is already allocated');
      return address;
    },
    releaseAddress(address) {
      const index = indexOf(address);
      if (index !== undefined) addresses.release(index);
    },
    takePort(port) {
      if (port === undefined) {
        const index = ports.takeAny();
        if (index === undefined) throw new AllocationError('range is full');
        return nodePorts.first + index;
      }
      if (!isNodePort(port))
        throw new AllocationError(
          `provided port is not in the valid range. The range of valid ports is ${nodePorts.first}-${nodePorts.last}`,
        );
      if (!ports.take(port - nodePorts.first)) throw new AllocationError('provided port is already allocated');
      return port;
    },
    releasePort(port) {
      if (isNodePort(port)) ports.release(port - nodePorts.first);
    },
    restore(services) {
      for (const service of services) {
        for (const address of heldAddresses(service)) {
          const index = indexOf(address);
          if (index !== undefined) addresses.take(index);
        }
        for (const port of heldPorts(service)) if (isNodePort(port)) ports.take(port - nodePorts.first);
      }
    },
  };
}

/** The cluster IPs of a Service; none of headless and ExternalName ones. */
export function heldAddresses(service: Service): string[] {
  const { type, clusterIP, clusterIPs } = service.spec ?? {};
  if (type === 'ExternalName') return [];
  const all = clusterIPs && clusterIPs.length > 0 ? clusterIPs : clusterIP ? [clusterIP] : [];
  return all.filter((address) => address !== '' && address !== 'None');
}

/** Its node ports, the one for health checks included; ports of different protocols may share a number. */
export function heldPorts(service: Service): Set<number> {
  const { ports = [], healthCheckNodePort } = service.spec ?? {};
  const numbers = [...ports.map((port) => port.nodePort ?? 0), healthCheckNodePort ?? 0];
  return new Set(numbers.filter((port) => port !== 0));
}
