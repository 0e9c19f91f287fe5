import type { Pod, Service } from '../../src/kube/types.ts';
import { podCondition } from './pod-state.ts';

/**
 * Finds for each Service the earliest change that a slice write answers to: the annotation
 * endpoints.kubernetes.io/last-change-trigger-time, from which proxies measure programming latency.
 */
export function createTriggerTimes() {
  const known = new Map<string, { serviceMs: number; podsMs: Map<string, number> }>();
  return {
    /** Milliseconds of the earliest change since the last call for this Service; undefined when none has a time. */
    next(key: string, service: Service, pods: readonly Pod[]): number | undefined {
      const before = known.get(key);
      const serviceMs = Date.parse(service.metadata.creationTimestamp);
      const podsMs = new Map(pods.map((pod) => [pod.metadata.uid, readinessChangeMs(pod)]));
      known.set(key, { serviceMs, podsMs });
      const changes = [...podsMs].filter(([uid, ms]) => ms > (before?.podsMs.get(uid) ?? 0)).map(([, ms]) => ms);
      if (serviceMs > (before?.serviceMs ?? 0)) changes.push(serviceMs);
      return changes.length > 0 ? Math.min(...changes) : undefined;
    },
    forget: (key: string) => known.delete(key),
  };
}

function readinessChangeMs(pod: Pod): number {
  const since = podCondition(pod, 'Ready')?.lastTransitionTime;
  return since ? Date.parse(since) : 0;
}
