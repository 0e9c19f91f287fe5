import type { IPFamily, Service } from '../../../src/kube/types.ts';
import type { WriteHold } from '../../apiserver/definition.ts';
import { type FieldError, invalid } from '../../apiserver/field-error.ts';
import { internalError, invalidObject } from '../../apiserver/status-error.ts';
import { AllocationError, heldAddresses, heldPorts, type ServiceAllocator } from '../allocation/service-allocator.ts';
import { isHeadless, needsClusterIp, needsHealthCheckPort, needsNodePorts } from './kind-of-service.ts';

const SERVICES = { group: '', plural: 'services', kind: 'Service' };

/**
 * Gives a Service that is about to be written its addresses and ports. What it takes in vain goes back when the write
 * fails; what `old` had and the Service has no longer goes back when it succeeds. Throws a StatusError.
 */
export function allocateService(allocator: ServiceAllocator, service: Service, old: Service | undefined): WriteHold {
  const undo: (() => void)[] = [];
  try {
    takeClusterIps(allocator, service, old, undo);
    takeNodePorts(allocator, service, old, undo);
  } catch (error) {
    for (const back of undo) back();
    throw error;
  }
  return {
    finish(stored) {
      if (stored) releaseUnused(allocator, service, old);
      else for (const back of undo) back();
    },
  };
}

/** One of each family; what the Service has already stays, as when it gets its second. */
function takeClusterIps(
  allocator: ServiceAllocator,
  service: Service,
  old: Service | undefined,
  undo: (() => void)[],
): void {
  if (!needsClusterIp(service) || isHeadless(service)) return;
  const { spec } = service;
  const own = old ? heldAddresses(old) : [];
  const given = spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : []);
  const addresses = (spec.ipFamilies ?? []).map((family, index) => {
    const wanted = given[index] || undefined;
    if (wanted !== undefined && own.includes(wanted)) return wanted;
    const address = refuseAs(
      (why) =>
        wanted === undefined
          ? internalError(`failed to allocate a serviceIP: ${why}`)
          : invalidService(service, invalid('spec.clusterIPs', given, `failed to allocate IP ${wanted}: ${why}`)),
      () => (wanted === undefined ? allocator.takeAnyAddress(family as IPFamily) : allocator.takeAddress(wanted)),
    );
    undo.push(() => allocator.releaseAddress(address));
    return address;
  });
  spec.clusterIP = addresses[0];
  spec.clusterIPs = addresses;
}

function takeNodePorts(
  allocator: ServiceAllocator,
  service: Service,
  old: Service | undefined,
  undo: (() => void)[],
): void {
  const { spec } = service;
  const own = old ? heldPorts(old) : new Set<number>();
  const take = (field: string, wanted: number | undefined): number => {
    if (wanted !== undefined && own.has(wanted)) return wanted;
    const port = refuseAs(
      (why) =>
        wanted === undefined
          ? internalError(`failed to allocate a nodePort: ${why}`)
          : invalidService(service, invalid(field, wanted, why)),
      () => allocator.takePort(wanted),
    );
    undo.push(() => allocator.releasePort(port));
    own.add(port);
    return port;
  };
  const ports = spec.ports ?? [];
  // Wanted ones first, so that a random one does not take them away.
  for (const [index, port] of ports.entries()) if (port.nodePort) take(`spec.ports[${index}].nodePort`, port.nodePort);
  if (needsNodePorts(service))
    for (const [index, port] of ports.entries()) {
      if (port.nodePort) continue;
      // DNS and its like: one number for TCP and UDP of the same port.
      const twin = ports.find(
        (other) => other.port === port.port && other.protocol !== port.protocol && other.nodePort,
      );
      port.nodePort = twin?.nodePort ?? take(`spec.ports[${index}].nodePort`, undefined);
    }
  if (needsHealthCheckPort(service))
    spec.healthCheckNodePort = take('spec.healthCheckNodePort', spec.healthCheckNodePort || undefined);
}

function releaseUnused(allocator: ServiceAllocator, service: Service, old: Service | undefined): void {
  if (!old) return;
  const addresses = new Set(heldAddresses(service));
  for (const address of heldAddresses(old)) if (!addresses.has(address)) allocator.releaseAddress(address);
  const ports = heldPorts(service);
  for (const port of heldPorts(old)) if (!ports.has(port)) allocator.releasePort(port);
}

/** A Service that is gone. */
export function releaseService(allocator: ServiceAllocator, service: Service): void {
  for (const address of heldAddresses(service)) allocator.releaseAddress(address);
  for (const port of heldPorts(service)) allocator.releasePort(port);
}

function refuseAs<T>(toError: (why: string) => Error, take: () => T): T {
  try {
    return take();
  } catch (error) {
    throw error instanceof AllocationError ? toError(error.message) : error;
  }
}

const invalidService = (service: Service, error: FieldError) =>
  invalidObject(SERVICES, service.metadata.name ?? '', [error]);
