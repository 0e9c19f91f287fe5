import type { Pod, PodCondition } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';

/** A pod's conditions with PodScheduled False; undefined when they say so already. */
export function unschedulableConditions(pod: Pod, message: string, nowMs: number): PodCondition[] | undefined {
  const conditions = pod.status?.conditions ?? [];
  const before = conditions.find(({ type }) => type === 'PodScheduled');
  const [status, reason] = ['False', 'Unschedulable'];
  if (before?.status === status && before.reason === reason && before.message === message) return undefined;
  const lastTransitionTime = before?.status === status ? before.lastTransitionTime : timestamp(nowMs);
  return [
    ...conditions.filter((condition) => condition !== before),
    { type: 'PodScheduled', status, reason, message, lastTransitionTime },
  ];
}
