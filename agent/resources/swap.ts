import type { Container, Pod } from '../../src/kube/types.ts';
import { isCriticalPod } from './critical.ts';
import { podQosClass } from './qos.ts';
import { limitsOf, requestsOf } from './requests.ts';

/** The node's swap and who may use it (memorySwap.swapBehavior). On cgroup v1 nobody may. */
export interface NodeSwap {
  behavior: 'NoSwap' | 'LimitedSwap';
  totalBytes: number;
  /** The node's memory, whose share a container's request is. */
  memoryBytes: number;
}

/** Swap that a container may use beside its memory: as much of the node's as it requests of the node's memory (KEP-2400). */
export function swapBytesOf(pod: Pod, container: Container, swap: NodeSwap): number {
  if (swap.behavior !== 'LimitedSwap' || podQosClass(pod) !== 'Burstable' || isCriticalPod(pod)) return 0;
  const requestBytes = requestsOf(container.resources).memory ?? 0;
  // Who is limited to what it requests is promised real memory; who asks for none is promised nothing.
  if (requestBytes === 0 || requestBytes === limitsOf(container.resources).memory) return 0;
  if (requestBytes > swap.memoryBytes) return 0;
  return Math.floor((requestBytes / swap.memoryBytes) * swap.totalBytes);
}
