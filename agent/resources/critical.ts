import type { Pod } from '../../src/kube/types.ts';
import { isMirrorPod, isStaticPod } from '../pods/annotations.ts';

/** Priorities from here on are for pods without which the node or the cluster does not work (scheduling's SystemCriticalPriority). */
const SYSTEM_CRITICAL_PRIORITY = 2_000_000_000;

/** Whether the node must keep this pod whatever it lacks: never evicted, and others make room for it. */
export function isCriticalPod(pod: Pod): boolean {
  return isStaticPod(pod) || isMirrorPod(pod) || (pod.spec.priority ?? 0) >= SYSTEM_CRITICAL_PRIORITY;
}
