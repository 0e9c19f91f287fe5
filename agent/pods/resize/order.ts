import type { Pod } from '../../../src/kube/types.ts';
import { podQosClass } from '../../resources/qos.ts';
import { podRequests } from '../../resources/requests.ts';

export interface PendingResize {
  asked: Pod;
  allocated: Pod;
  /** When it was first refused, by the monotonic clock; undefined: not looked at yet. */
  pendingSinceMs: number | undefined;
}

/**
 * Which resize gets what has become free (upstream's order): those that ask for nothing more, then by priority, then Guaranteed before
 * others, then who has waited longest. Pure.
 */
export function sortPendingResizes<P extends PendingResize>(pending: readonly P[]): P[] {
  return pending.toSorted(
    (one, other) =>
      Number(asksForMore(one)) - Number(asksForMore(other)) ||
      (other.asked.spec.priority ?? 0) - (one.asked.spec.priority ?? 0) ||
      Number(isGuaranteed(other)) - Number(isGuaranteed(one)) ||
      (one.pendingSinceMs ?? Number.MAX_VALUE) - (other.pendingSinceMs ?? Number.MAX_VALUE),
  );
}

function asksForMore({ asked, allocated }: PendingResize): boolean {
  const [now, before] = [podRequests(asked), podRequests(allocated)];
  return ['cpu', 'memory'].some((name) => (now[name] ?? 0) > (before[name] ?? 0));
}

function isGuaranteed({ asked }: PendingResize): boolean {
  return podQosClass(asked) === 'Guaranteed';
}
