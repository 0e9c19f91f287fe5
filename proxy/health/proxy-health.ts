import type { Node } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { Clock } from '../../src/runtime/clock.ts';

/** A cluster autoscaler sets it on a node that it is about to remove. */
const TO_BE_DELETED_TAINT = 'ToBeDeletedByClusterAutoscaler';

export interface ProxyHealthState {
  /** No change waits for longer than the timeout to reach the kernel. */
  isHealthy: boolean;
  /** Wall time, milliseconds: now while healthy, else that of the last sync of the family that hangs. */
  lastUpdatedMs: number;
  nowMs: number;
  /** False while load balancers should send no new traffic here: the node is going away. */
  isNodeEligible: boolean;
}

/** Keeps what /healthz tells: whether changes that were queued also reached the kernel, for each IP family. */
export interface ProxyHealth {
  queued(family: IpFamily): void;
  updated(family: IpFamily): void;
  nodeChanged(node: Node): void;
  state(): ProxyHealthState;
}

export function createProxyHealth(options: { clock: Clock; timeoutMs: number }): ProxyHealth {
  const { clock } = options;
  const startMs = clock.nowMs();
  const pendingSinceMs = new Map<IpFamily, number>();
  const lastUpdatedMs = new Map<IpFamily, number>();
  let isNodeEligible = true;
  return {
    queued(family) {
      // The oldest counts; a stream of changes must not push the deadline on.
      if (!pendingSinceMs.has(family)) pendingSinceMs.set(family, clock.monotonicMs());
    },
    updated(family) {
      pendingSinceMs.delete(family);
      lastUpdatedMs.set(family, clock.nowMs());
    },
    nodeChanged({ metadata, spec }) {
      isNodeEligible =
        metadata.deletionTimestamp === undefined && !spec.taints?.some(({ key }) => key === TO_BE_DELETED_TAINT);
    },
    state() {
      const monotonicMs = clock.monotonicMs();
      const nowMs = clock.nowMs();
      const hanging = [...pendingSinceMs].filter(([, sinceMs]) => monotonicMs - sinceMs > options.timeoutMs);
      const oldestMs = Math.min(...hanging.map(([family]) => lastUpdatedMs.get(family) ?? startMs));
      return {
        isHealthy: hanging.length === 0,
        lastUpdatedMs: hanging.length === 0 ? nowMs : oldestMs,
        nowMs,
        isNodeEligible,
      };
    },
  };
}
