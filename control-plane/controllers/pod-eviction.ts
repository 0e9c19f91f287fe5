import type { KubeClient } from '../../src/kube/client.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { pods as podResource } from '../../src/kube/resources.ts';
import type { Pod } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { withCondition } from './conditions.ts';

/** Why the control plane ends a pod; told in its DisruptionTarget condition before it goes. */
export interface Disruption {
  reason: 'DeletionByTaintManager' | 'DeletionByPodGC';
  message: string;
  /** Sets phase Failed too: nobody is left who could end the pod properly. */
  asFailed?: boolean;
  /** Deletes at once instead of gracefully. */
  force?: boolean;
}

/** Marks a pod as disrupted and deletes it. A pod that is gone already is no error; a changed one is a conflict. */
export async function disruptPod(client: KubeClient, pod: Pod, disruption: Disruption, nowMs: number): Promise<void> {
  const { namespace, name, uid } = pod.metadata;
  const { reason, message, asFailed, force } = disruption;
  try {
    const condition = {
      type: 'DisruptionTarget',
      status: 'True',
      reason,
      message,
      lastTransitionTime: timestamp(nowMs),
    };
    const status = { ...pod.status, conditions: withCondition(pod.status?.conditions ?? [], condition) };
    if (asFailed) status.phase = 'Failed';
    if (status.conditions.length !== pod.status?.conditions?.length || asFailed)
      await client.replace(podResource, { ...pod, status }, { subresource: 'status' });
    await client.delete(podResource, { namespace, name, uid, ...(force && { gracePeriodSeconds: 0 }) });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
