import { isDeepStrictEqual } from 'node:util';
import { isConflict, isNotFound } from '../../src/kube/errors.ts';
import {
  leases as leaseResource,
  nodes as nodeResource,
  objectKey,
  pods as podResource,
} from '../../src/kube/resources.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import { type Controller, type ControllerDependencies, createReconciler } from './controller.ts';
import { type NodeSighting, silentConditions, updateSighting } from './node-health.ts';
import { computeTaints, evictionTaintKey, readyStatus, sameTaints } from './node-taints.ts';
import { isPodTerminal } from './pod-state.ts';

export interface NodeLifecycleOptions {
  /** How often silence is looked for. */
  monitorPeriodMs: number;
  /** A node that neither renewed its Lease nor its status for so long is Unknown. */
  gracePeriodMs: number;
  /** The same for a node that has never reported anything. */
  startupGracePeriodMs: number;
  /** NoExecute taints are given to at most so many nodes per second, lest one fault of ours empties the cluster. */
  evictionsPerSecond: number;
}

export const NODE_LIFECYCLE_DEFAULTS: NodeLifecycleOptions = {
  monitorPeriodMs: 5000,
  gracePeriodMs: 50_000,
  startupGracePeriodMs: 60_000,
  evictionsPerSecond: 0.1,
};

const LEASE_NAMESPACE = 'kube-node-lease';

/** Notices nodes that fell silent (Ready Unknown), and turns node conditions into taints. */
export function createNodeLifecycleController(
  options: NodeLifecycleOptions,
  dependencies: ControllerDependencies,
): Controller {
  const { client, informers, log, clock, events } = dependencies;
  const nodes = informers.informer(nodeResource);
  const leases = informers.informer(leaseResource);
  const pods = informers.informer(podResource);
  const podsByNode = pods.index((pod) => [pod.spec.nodeName]);
  const sightings = new Map<string, NodeSighting>();
  let nextEvictionMs = Number.NEGATIVE_INFINITY;

  const controller = createReconciler(
    {
      name: 'node-lifecycle-controller',
      inputs: [nodes, leases, pods],
      // One at a time: the eviction rate is shared.
      concurrency: 1,
      reconcile,
    },
    dependencies,
  );
  const { queue } = controller;

  nodes.subscribe({
    added(node) {
      const { name } = node.metadata;
      events.event(node, 'Normal', 'RegisteredNode', `Node ${name} event: Registered Node ${name} in Controller`);
      queue.add(name);
    },
    updated(old, node) {
      queue.add(objectKey(node));
      // The last node to fall or the first to rise changes what the others may be given.
      if (readyStatus(old) !== readyStatus(node)) enqueueAll();
    },
    deleted(node) {
      const { name } = node.metadata;
      events.event(node, 'Normal', 'RemovingNode', `Node ${name} event: Removing Node ${name} from Controller`);
      sightings.delete(name);
      enqueueAll();
    },
  });

  function enqueueAll() {
    for (const node of nodes.list()) queue.add(objectKey(node));
  }

  async function reconcile(name: string): Promise<void> {
    const node = nodes.get(name);
    if (!node) return;
    queue.addAfter(name, options.monitorPeriodMs);
    const watched = await markWhenSilent(node);
    await applyTaints(watched);
    if (readyStatus(watched) !== 'True') await markPodsNotReady(watched);
  }

  /** The node as it is after its silence, if any, has been written down. */
  async function markWhenSilent(node: Node): Promise<Node> {
    const { name } = node.metadata;
    const lease = leases.get(`${LEASE_NAMESPACE}/${name}`);
    const sighting = updateSighting(sightings.get(name), node, lease, clock.monotonicMs());
    sightings.set(name, sighting);
    const hasReported = sighting.renewTime !== undefined || sighting.heartbeat !== undefined;
    const graceMs = hasReported ? options.gracePeriodMs : options.startupGracePeriodMs;
    if (clock.monotonicMs() - sighting.changedAtMs <= graceMs) return node;
    const conditions = silentConditions(node, clock.nowMs());
    if (isDeepStrictEqual(conditions, node.status?.conditions)) return node;
    log.warn(
      { node: name, silentMs: Math.round(clock.monotonicMs() - sighting.changedAtMs) },
      'the node has fallen silent',
    );
    events.event(node, 'Normal', 'NodeNotReady', `Node ${name} status is now: NodeNotReady`);
    const status = { ...node.status, conditions };
    return client.replace(nodeResource, { ...node, status }, { subresource: 'status' });
  }

  async function applyTaints(node: Node): Promise<void> {
    const isDisrupted = nodes.list().every((one) => readyStatus(one) !== 'True');
    const nowMs = clock.monotonicMs();
    const mayEvict = nowMs >= nextEvictionMs;
    const before = node.spec?.taints ?? [];
    const taints = computeTaints(node, { mayEvict, isDisrupted, nowMs: clock.nowMs() });
    const evictKey = evictionTaintKey(node);
    const evicts = taints.some(({ key, effect }) => effect === 'NoExecute' && key === evictKey);
    if (evictKey && !evicts && !isDisrupted) queue.addAfter(node.metadata.name, nextEvictionMs - nowMs);
    if (sameTaints(taints, before)) return;
    await client.replace(nodeResource, { ...node, spec: { ...node.spec, taints } });
    if (evicts && !before.some(({ key, effect }) => effect === 'NoExecute' && key === evictKey))
      nextEvictionMs = nowMs + 1000 / options.evictionsPerSecond;
  }

  /** Takes the pods of a node that is not ready out of their Services. */
  async function markPodsNotReady(node: Node): Promise<void> {
    // Only silence: a node that answers, though not ready, reports its pods' readiness itself.
    if (readyStatus(node) !== 'Unknown') return;
    for (const pod of podsByNode(node.metadata.name)) {
      const conditions = notReadyConditions(pod, clock.nowMs());
      if (!conditions) continue;
      events.event(pod, 'Warning', 'NodeNotReady', 'Node is not ready');
      try {
        await client.replace(podResource, { ...pod, status: { ...pod.status, conditions } }, { subresource: 'status' });
      } catch (error) {
        if (!isNotFound(error) && !isConflict(error)) throw error;
      }
    }
  }

  return controller;
}

/** A pod's conditions with Ready turned to False; undefined when nothing is to be changed. */
export function notReadyConditions(pod: Pod, nowMs: number) {
  const ready = pod.status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready?.status !== 'True' || isPodTerminal(pod)) return undefined;
  return pod.status?.conditions?.map((condition) =>
    condition === ready ? { ...ready, status: 'False', lastTransitionTime: timestamp(nowMs) } : condition,
  );
}
