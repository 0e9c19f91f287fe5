import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { KubeClient } from '../../src/kube/client.ts';
import { isConflict, isNotFound } from '../../src/kube/errors.ts';
import type { EventRecorder } from '../../src/kube/events.ts';
import type { InformerSet } from '../../src/kube/informer.ts';
import {
  namespaces as namespaceResource,
  nodes as nodeResource,
  objectKey,
  pods as podResource,
} from '../../src/kube/resources.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { reasonsAgainst } from './filters.ts';
import { type ClusterView, createSchedulerCache, type NodeInfo } from './node-info.ts';
import { choosePlacement } from './placement.ts';
import { usesPodAffinity } from './pod-affinity.ts';
import { type AttemptResult, schedulerMetrics } from './scheduler-metrics.ts';
import { createSchedulingQueue } from './scheduling-queue.ts';
import { unschedulableConditions } from './unschedulable.ts';
import { createVolumeBinding } from './volume-binding.ts';

export interface SchedulerOptions {
  /** Pods that name this scheduler are ours; 'default-scheduler' unless said. */
  schedulerName?: string;
}

export interface SchedulerDependencies {
  client: KubeClient;
  informers: InformerSet;
  log: Logger;
  clock: Clock;
  events: EventRecorder;
  /** Where the scheduler_* metrics go. */
  metrics?: Registry;
  /** Told that the loop turns. */
  heartbeats?: Heartbeats;
  /** 0…1; chooses among equal nodes. */
  random?: () => number;
}

/** Bindings under way at once: each holds a connection. */
const MAX_BINDINGS = 16;
/** The loop gives way to others after working for so long. */
const SLICE_MS = 5;
const BEAT_MS = 10_000;

/** Gives pods their nodes: one decision at a time on a picture of the cluster, bindings in parallel behind it. */
export function createScheduler(options: SchedulerOptions, dependencies: SchedulerDependencies) {
  const { client, informers, clock, events } = dependencies;
  const { schedulerName = 'default-scheduler' } = options;
  const log = dependencies.log.child({ component: 'scheduler' });
  const random = dependencies.random ?? Math.random;
  const pods = informers.informer(podResource);
  const nodes = informers.informer(nodeResource);
  const namespaces = informers.informer(namespaceResource);
  const volumes = createVolumeBinding({ client, informers });
  const cache = createSchedulerCache();
  let wake: () => void = () => {};
  const queue = createSchedulingQueue({ clock, onReady: () => wake() });
  const { metrics } = dependencies;
  const measure = metrics && schedulerMetrics(metrics, schedulerName, pendingPods);
  const bindings = new Set<Promise<void>>();
  /** Pods with a node that wait for their volumes: that may take minutes, and holds no connection. */
  const waits = new Set<Promise<void>>();
  const stopping = new AbortController();
  let searchStart = 0;

  const view = (): ClusterView => ({
    nodes: cache.nodes(),
    namespaceOf: namespaces.get,
    storage: volumes.storage,
  });
  const isOurs = (pod: Pod) => (pod.spec.schedulerName || 'default-scheduler') === schedulerName;
  const isFinished = (pod: Pod) => pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  const isPending = (pod: Pod) =>
    isOurs(pod) &&
    !pod.spec.nodeName &&
    !pod.metadata.deletionTimestamp &&
    !isFinished(pod) &&
    !pod.spec.schedulingGates?.length;

  nodes.subscribe({
    added(node) {
      cache.setNode(node);
      retryOn(node.metadata.name, 'later');
    },
    updated(old, node) {
      cache.setNode(node);
      if (!isDeepStrictEqual(relevantParts(old), relevantParts(node))) retryOn(node.metadata.name, 'later');
    },
    deleted: (node) => cache.removeNode(node.metadata.name),
  });
  pods.subscribe({
    added: (pod) => podChanged(undefined, pod),
    updated: podChanged,
    deleted(pod) {
      queue.remove(pod.metadata.uid);
      cache.removePod(pod.metadata.uid);
      volumes.release(pod.metadata.uid);
      if (pod.spec.nodeName) retryOn(pod.spec.nodeName);
    },
  });

  volumes.onChange((isConcerned) => {
    const around = view();
    queue.retry((pod) => {
      if (!isConcerned(pod)) return undefined;
      return around.nodes.some((one) => reasonsAgainst(pod, one, around).length === 0) ? 'now' : 'later';
    });
  });

  function podChanged(old: Pod | undefined, pod: Pod) {
    const { uid } = pod.metadata;
    const { nodeName } = pod.spec;
    if (nodeName) {
      queue.remove(uid);
      if (isFinished(pod)) {
        cache.removePod(uid);
        retryOn(nodeName);
      } else {
        cache.setPod(pod);
        // A pod that appears or is relabelled may be the company that another one waits for.
        if (old?.spec.nodeName !== nodeName || !isDeepStrictEqual(old.metadata.labels, pod.metadata.labels))
          retryOn(nodeName);
      }
    } else if (isPending(pod)) {
      if (cache.isAssumed(uid)) return;
      const isChanged =
        old !== undefined && !isDeepStrictEqual([old.spec, old.metadata.labels], [pod.spec, pod.metadata.labels]);
      queue.offer(pod, isChanged);
    } else queue.remove(uid);
  }

  /**
   * A node changed: pods that it now suits are tried at once, since they are known to fit. The others are tried
   * `otherwise`: after a back-off when their message must be brought up to date, not at all when nothing changed for them.
   */
  function retryOn(nodeName: string, otherwise?: 'later') {
    const around = view();
    const info = cache.node(nodeName);
    const suits = (pod: Pod, one: NodeInfo) => reasonsAgainst(pod, one, around).length === 0;
    queue.retry((pod) => {
      const looksAround = usesPodAffinity(pod) || pod.spec.topologySpreadConstraints?.length;
      const fits = looksAround ? around.nodes.some((one) => suits(pod, one)) : info && suits(pod, info);
      return fits ? 'now' : otherwise;
    });
  }

  function pendingPods() {
    const { active, backoff, unschedulable } = queue.sizes();
    return { active, backoff, unschedulable };
  }

  /** A pod that can't even be judged must not stop the others. */
  function tryToSchedule(pod: Pod) {
    try {
      scheduleOne(pod);
    } catch (error) {
      log.error({ pod: objectKey(pod), err: error }, 'scheduling a pod failed, trying again');
      cache.forget(pod.metadata.uid);
      queue.failed(pod.metadata.uid);
    }
  }

  function scheduleOne(pod: Pod) {
    const startMs = clock.monotonicMs();
    const measured = (result: AttemptResult) => measure?.(result, (clock.monotonicMs() - startMs) / 1000);
    const around = view();
    const placement = choosePlacement(pod, around, { start: searchStart, random });
    searchStart = around.nodes.length > 0 ? (searchStart + placement.examined) % around.nodes.length : 0;
    const { uid } = pod.metadata;
    if ('refusal' in placement) {
      queue.refused(uid);
      measured('unschedulable');
      track(tellRefusal(pod, placement.refusal));
      return;
    }
    const { nodeName } = placement;
    const decision = volumes.assume(pod, cache.node(nodeName)!);
    cache.assume(pod, nodeName);
    if (!decision) {
      track(bind(pod, nodeName).then(measured));
      return;
    }
    const wait = volumes
      .bind(pod, nodeName, decision, stopping.signal)
      .then(
        () => track(bind(pod, nodeName).then(measured)),
        (error) => {
          if (!stopping.signal.aborted) measured(bindingFailed(pod, nodeName, error));
        },
      )
      .finally(() => {
        volumes.release(uid);
        waits.delete(wait);
      });
    waits.add(wait);
  }

  function track(work: Promise<void>) {
    const tracked = work.finally(() => {
      bindings.delete(tracked);
      wake();
    });
    bindings.add(tracked);
  }

  async function bind(pod: Pod, nodeName: string): Promise<AttemptResult> {
    const { namespace, name, uid } = pod.metadata;
    const binding = {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { namespace, name, uid },
      target: { apiVersion: 'v1', kind: 'Node', name: nodeName },
    };
    try {
      await client.create(podResource, binding, { namespace, name: name!, subresource: 'binding' });
      queue.done(uid);
      events.event(pod, 'Normal', 'Scheduled', `Successfully assigned ${objectKey(pod)} to ${nodeName}`);
      return 'scheduled';
    } catch (error) {
      return bindingFailed(pod, nodeName, error, 'binding rejected: ');
    }
  }

  function bindingFailed(pod: Pod, nodeName: string, error: unknown, prefix = ''): AttemptResult {
    const { uid } = pod.metadata;
    cache.forget(uid);
    retryOn(nodeName);
    // Gone, or bound by somebody else: the informer tells what is true now. Else it is tried again.
    if (isNotFound(error)) {
      queue.done(uid);
      return 'error';
    }
    log.warn({ pod: objectKey(pod), node: nodeName, err: error }, 'binding failed, trying again');
    queue.failed(uid);
    const message = error instanceof Error ? error.message : String(error);
    if (!isConflict(error) && pods.get(objectKey(pod)))
      events.event(pod, 'Warning', 'FailedScheduling', `${prefix}${message}`);
    return 'error';
  }

  async function tellRefusal(pod: Pod, message: string): Promise<void> {
    events.event(pod, 'Warning', 'FailedScheduling', message);
    const conditions = unschedulableConditions(pod, message, clock.nowMs());
    if (!conditions) return;
    try {
      await client.replace(podResource, { ...pod, status: { ...pod.status, conditions } }, { subresource: 'status' });
    } catch (error) {
      // The condition is news for people; the pod stays queued whatever becomes of it.
      if (!isConflict(error) && !isNotFound(error))
        log.warn({ pod: objectKey(pod), err: error }, 'the PodScheduled condition could not be written');
    }
  }

  async function run(signal: AbortSignal): Promise<void> {
    try {
      await Promise.all([pods, nodes, namespaces, ...volumes.inputs].map((informer) => informer.synced(signal)));
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    signal.addEventListener('abort', () => wake(), { once: true });
    const beat = dependencies.heartbeats?.register('scheduler', BEAT_MS * 3);
    let sliceStartMs = clock.monotonicMs();
    while (!signal.aborted) {
      beat?.();
      const pod = bindings.size < MAX_BINDINGS ? queue.take() : undefined;
      if (pod) {
        tryToSchedule(pod);
        if (clock.monotonicMs() - sliceStartMs < SLICE_MS) continue;
        await nextTurn();
      } else
        await new Promise<void>((resolve) => {
          const cancel = clock.after(BEAT_MS, resolve);
          wake = () => {
            cancel();
            resolve();
          };
        });
      sliceStartMs = clock.monotonicMs();
    }
    queue.close();
    stopping.abort();
    await Promise.allSettled([...waits, ...bindings]);
  }

  return { run, queue };
}

/** What of a node decides whether pods fit; its heartbeats don't. */
function relevantParts({ metadata: { labels }, spec, status }: Node) {
  return { labels, taints: spec?.taints, unschedulable: spec?.unschedulable, allocatable: status?.allocatable };
}
