import type { Container } from '../../src/kube/types.ts';
import type { QosClass } from './qos.ts';
import { limitsOf, requestsOf } from './requests.ts';

/** What the kernel reckons with: a page of every architecture that Berth runs on. */
const PAGE_BYTES = 4096;

/** The feature gate MemoryQoS (KEP-2570), which only cgroup v2 can carry out. */
export interface MemoryQos {
  /** memoryThrottlingFactor: how far between request and limit a container may go before it is slowed down. */
  throttlingFactor: number;
  /** memoryReservationPolicy: whether what is requested is kept from being reclaimed. */
  reservation: 'None' | 'TieredReservation';
  /** What stands for the limit of a container that has none: the node's allocatable memory. */
  allocatableBytes: number;
}

/** `memory.high` of a container; undefined where nothing is throttled: it gets what it requests and no more. */
export function memoryHighBytes(container: Container, qos: MemoryQos): number | undefined {
  const requestBytes = requestsOf(container.resources).memory ?? 0;
  const limitBytes = limitsOf(container.resources).memory ?? 0;
  if (requestBytes > 0 && requestBytes === limitBytes) return undefined;
  const mostBytes = limitBytes || qos.allocatableBytes;
  const highBytes = Math.floor((requestBytes + (mostBytes - requestBytes) * qos.throttlingFactor) / PAGE_BYTES);
  return highBytes * PAGE_BYTES > requestBytes ? highBytes * PAGE_BYTES : undefined;
}

/** Guaranteed memory is never reclaimed, Burstable's only when nothing else is left. Zeros take back what an earlier configuration has set. */
export function memoryProtection(
  qosClass: QosClass,
  requestBytes: number,
  qos: MemoryQos | undefined,
): { memoryMinBytes: number; memoryLowBytes: number } {
  const isKept = qos?.reservation === 'TieredReservation';
  return {
    memoryMinBytes: isKept && qosClass === 'Guaranteed' ? requestBytes : 0,
    memoryLowBytes: isKept && qosClass === 'Burstable' ? requestBytes : 0,
  };
}
