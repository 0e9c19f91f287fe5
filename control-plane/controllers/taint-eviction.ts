import { isDeepStrictEqual } from 'node:util';
import { nodes as nodeResource, objectKey, pods as podResource } from '../../src/kube/resources.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import { evictionTimeMs } from '../tolerations.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';
import { disruptPod } from './pod-eviction.ts';

const DISRUPTION = {
  reason: 'DeletionByTaintManager',
  message: 'Taint manager: deleting due to NoExecute taint',
} as const;

/** Deletes pods from nodes with NoExecute taints that they don't tolerate, or no longer. */
export function createTaintEvictionController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, events } = dependencies;
  const nodes = informers.informer(nodeResource);
  const pods = informers.informer(podResource);
  const podsByNode = pods.index((pod) => [pod.spec.nodeName]);
  /** Pods, by uid, that have been told that they will have to go. */
  const announced = new Set<string>();

  const controller = createReconciler(
    {
      name: 'taint-eviction-controller',
      inputs: [nodes, pods],
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;

  const enqueuePods = (node: Node) => {
    for (const pod of podsByNode(node.metadata.name)) queue.add(objectKey(pod));
  };
  nodes.subscribe({
    added: (node) => node.spec?.taints?.length && enqueuePods(node),
    updated: (old, node) => !isDeepStrictEqual(old.spec?.taints, node.spec?.taints) && enqueuePods(node),
  });
  const enqueueIfTainted = (pod: Pod) => {
    if (nodes.get(pod.spec.nodeName ?? '')?.spec?.taints?.length) queue.add(objectKey(pod));
  };
  pods.subscribe({
    added: enqueueIfTainted,
    updated(old, pod) {
      const isSame =
        old.spec.nodeName === pod.spec.nodeName && isDeepStrictEqual(old.spec.tolerations, pod.spec.tolerations);
      if (!isSame) enqueueIfTainted(pod);
    },
    deleted: (pod) => announced.delete(pod.metadata.uid),
  });

  async function reconcile(key: string): Promise<void> {
    const pod = pods.get(key);
    if (!pod?.spec.nodeName || pod.metadata.deletionTimestamp) return;
    const taints = nodes.get(pod.spec.nodeName)?.spec?.taints ?? [];
    const leaveMs = evictionTimeMs(taints, pod.spec.tolerations, clock.nowMs());
    const { uid } = pod.metadata;
    if (leaveMs === undefined) {
      if (announced.delete(uid))
        events.event(pod, 'Normal', 'TaintManagerEviction', `Cancelling deletion of Pod ${key}`);
      return;
    }
    const waitMs = leaveMs - clock.nowMs();
    if (waitMs > 0) {
      announced.add(uid);
      queue.addAfter(key, waitMs);
      return;
    }
    announced.delete(uid);
    events.event(pod, 'Normal', 'TaintManagerEviction', `Marking for deletion Pod ${key}`);
    await disruptPod(client, pod, DISRUPTION, clock.nowMs());
  }

  return controller;
}
