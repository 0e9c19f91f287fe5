import { isIPv6 } from 'node:net';
import type { IPFamily, Service } from '../../../src/kube/types.ts';
import { createAddressPool } from './address-pool.ts';
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
  /** Those that the cluster has ranges of, the default one first. */
  readonly families: readonly IPFamily[];
  /** The first address of the first range: that of the Service `kubernetes`. */
  readonly firstAddress: string;
  /** Takes this address. Throws AllocationError, also where the cluster has no range of its family. */
  takeAddress(address: string): string;
  /** Takes any of the family. Throws AllocationError. */
  takeAnyAddress(family: IPFamily): string;
  releaseAddress(address: string): void;
  /** Takes this port, or any when undefined. A number is one Service's, whatever the protocol, as upstream. Throws AllocationError. */
  takePort(port?: number): number;
  releasePort(port: number): void;
  /** Holds what stored Services have, whatever it is: they were there first. */
  restore(services: readonly Service[]): void;
}

export interface ServiceAllocatorOptions {
  /** `10.96.0.0/12`; a second one of the other family makes the cluster dual-stack. */
  serviceCidrs: readonly string[];
  /** 30000–32767 unless said. */
  nodePorts?: PortRange;
  /** In [0, 1); Math.random unless said. */
  random?: () => number;
}

/** Throws when a CIDR is none or too small for the Service `kubernetes` and one more, and when two are of one family. */
export function createServiceAllocator(options: ServiceAllocatorOptions): ServiceAllocator {
  const { serviceCidrs, nodePorts = { first: 30000, last: 32767 }, random = Math.random } = options;
  const pools = serviceCidrs.map((cidr) => createAddressPool(cidr, random));
  const families = pools.map(({ family }) => family);
  if (families.length === 0 || new Set(families).size < families.length)
    throw new Error(`service CIDRs ${serviceCidrs.join(',')}: one, or one of each address family`);
  const poolOf = (family: IPFamily) => {
    const pool = pools.find((one) => one.family === family);
    if (!pool) throw new AllocationError(`${family} is not configured on this cluster`);
    return pool;
  };
  const portCount = nodePorts.last - nodePorts.first + 1;
  const ports = createNumberPool(portCount, lowerBandOf(portCount, 32, 128), random);
  const isNodePort = (port: number) => port >= nodePorts.first && port <= nodePorts.last;
  return {
    families,
    firstAddress: pools[0]!.firstAddress,
    takeAddress(address) {
      const pool = poolOf(isIPv6(address) ? 'IPv6' : 'IPv4');
      const outcome = pool.take(address);
      if (outcome === 'outside')
        throw new AllocationError(
          `the provided IP (${address}) is not in the valid range. The range of valid IPs is ${pool.cidr}`,
        );
      if (outcome === 'held') throw new AllocationError('provided IP is already allocated');
      return address;
    },
    takeAnyAddress(family) {
      const address = poolOf(family).takeAny();
      if (address === undefined) throw new AllocationError('range is full');
      return address;
    },
    releaseAddress(address) {
      for (const pool of pools) pool.release(address);
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
        for (const address of heldAddresses(service)) for (const pool of pools) pool.take(address);
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
