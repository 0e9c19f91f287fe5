import { isConflict, isNotFound } from '../../src/kube/errors.ts';
import { nodes as nodeResource, objectKey, pods as podResource } from '../../src/kube/resources.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';
import { disruptPod } from './pod-eviction.ts';
import { isPodTerminal } from './pod-state.ts';

export interface PodGcOptions {
  periodMs: number;
  /** A node must be missing for so long before its pods are collected: it may register again. */
  quarantineMs: number;
  /** Finished pods beyond this number are deleted, the oldest first. */
  terminatedPodThreshold: number;
}

export const POD_GC_DEFAULTS: PodGcOptions = {
  periodMs: 20_000,
  quarantineMs: 40_000,
  terminatedPodThreshold: 12_500,
};

const ROUND = 'all';
const OUT_OF_SERVICE = 'node.kubernetes.io/out-of-service';

export interface CollectablePods {
  /** Their node is gone. */
  orphaned: Pod[];
  /** Deleted before they got a node. */
  unscheduled: Pod[];
  /** Deleted, on a node that an administrator declared out of service. */
  outOfService: Pod[];
  /** Too many finished ones. */
  excess: Pod[];
}

/** Which pods nobody else will ever delete. `isGone` tells nodes that are missing for long enough. */
export function computeCollectablePods(
  pods: readonly Pod[],
  nodeOf: (name: string) => Node | undefined,
  isGone: (nodeName: string) => boolean,
  threshold: number,
): CollectablePods {
  const isOutOfService = (node: Node | undefined) =>
    node?.spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE) &&
    node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status !== 'True');
  const finished = pods
    .filter((pod) => isPodTerminal(pod) && !pod.metadata.deletionTimestamp)
    .sort((a, b) => Date.parse(a.metadata.creationTimestamp) - Date.parse(b.metadata.creationTimestamp));
  return {
    orphaned: pods.filter(({ spec }) => spec.nodeName && !nodeOf(spec.nodeName) && isGone(spec.nodeName)),
    unscheduled: pods.filter(({ metadata, spec }) => metadata.deletionTimestamp && !spec.nodeName),
    outOfService: pods.filter(
      ({ metadata, spec }) => metadata.deletionTimestamp && spec.nodeName && isOutOfService(nodeOf(spec.nodeName)),
    ),
    excess: finished.slice(0, Math.max(0, finished.length - threshold)),
  };
}

/** Collects pods that nobody else will: of vanished nodes, never scheduled, too many finished ones. */
export function createPodGcController(options: PodGcOptions, dependencies: ControllerDependencies): Controller {
  const { client, informers, log, clock } = dependencies;
  const nodes = informers.informer(nodeResource);
  const pods = informers.informer(podResource);
  /** Monotonic milliseconds since when a node named by a pod is missing. */
  const missingSinceMs = new Map<string, number>();

  const controller = createReconciler(
    {
      name: 'pod-garbage-collector',
      inputs: [nodes, pods],
      concurrency: 1,
      reconcile,
    },
    dependencies,
  );
  controller.queue.add(ROUND);

  async function reconcile(): Promise<void> {
    controller.queue.addAfter(ROUND, options.periodMs);
    noteMissingNodes();
    const gone = new Set<string>();
    for (const [name, sinceMs] of missingSinceMs)
      if (clock.monotonicMs() - sinceMs >= options.quarantineMs && !(await existsLive(name))) gone.add(name);
    const isGone = (name: string) => gone.has(name);
    const found = computeCollectablePods(pods.list(), nodes.get, isGone, options.terminatedPodThreshold);
    for (const pod of found.orphaned) await collect(pod, 'PodGC: node no longer exists');
    for (const pod of found.outOfService) await collect(pod, 'PodGC: node is out of service');
    for (const pod of [...found.unscheduled, ...found.excess]) await collect(pod, undefined);
  }

  function noteMissingNodes() {
    const missing = new Set(
      pods.list().flatMap(({ spec }) => (spec.nodeName && !nodes.get(spec.nodeName) ? [spec.nodeName] : [])),
    );
    for (const name of missingSinceMs.keys()) if (!missing.has(name)) missingSinceMs.delete(name);
    for (const name of missing) if (!missingSinceMs.has(name)) missingSinceMs.set(name, clock.monotonicMs());
  }

  async function existsLive(name: string): Promise<boolean> {
    try {
      await client.get(nodeResource, { name });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /** One pod's failure does not keep the others: the next round comes soon. */
  async function collect(pod: Pod, message: string | undefined): Promise<void> {
    const { namespace, name, uid } = pod.metadata;
    log.info(
      { pod: objectKey(pod), node: pod.spec.nodeName },
      `collecting a pod: ${message ?? 'finished or never scheduled'}`,
    );
    try {
      if (message && !isPodTerminal(pod))
        await disruptPod(
          client,
          pod,
          { reason: 'DeletionByPodGC', message, asFailed: true, force: true },
          clock.nowMs(),
        );
      else await client.delete(podResource, { namespace, name, uid, gracePeriodSeconds: 0 });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error))
        log.warn({ pod: objectKey(pod), err: error }, 'collecting a pod failed');
    }
  }

  return controller;
}
