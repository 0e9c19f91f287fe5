import type { PodCondition } from '../../src/kube/types.ts';

/** What the node itself decided about a pod: it fails, whatever its containers return. */
export interface PodVerdict {
  phase: 'Failed';
  /** status.reason: `Evicted`, `Preempting`, `Terminated`, `DeadlineExceeded`, … */
  reason: string;
  message: string;
  /** In place of the grace that the pod asks for; may only shorten it. */
  graceSeconds?: number;
  /** Published together with the phase, when nothing of the pod runs any more; its times are filled in then. */
  condition?: Omit<PodCondition, 'lastProbeTime' | 'lastTransitionTime' | 'observedGeneration'>;
  /** The node had taken the pod. Else, when nothing of it ever ran here, the verdict is a rejection at the door. */
  wasAdmitted?: boolean;
}
