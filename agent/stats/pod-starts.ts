import type { Clock } from '../../src/runtime/clock.ts';
import { Histogram, type Registry } from '../../src/runtime/metrics.ts';
import { isStaticPod } from '../pods/annotations.ts';
import type { AgentMetrics } from '../pods/ports.ts';

/** Buckets of pod start durations, upstream's. */
const BUCKETS = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
];

/**
 * How long pods take to run: from when the agent has seen them, and from when they were created, whole and as the service level of
 * Kubernetes counts it, without the time that their images were pulled and their init containers ran.
 */
export function createPodStartMetrics({
  registry,
  clock,
}: {
  registry: Registry;
  clock: Clock;
}): Pick<AgentMetrics, 'podStarted' | 'podWorkerStarted' | 'imagePulled'> {
  const registers = [registry];
  const starts = new Histogram({
    name: 'kubelet_pod_start_duration_seconds',
    help: 'Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run',
    buckets: BUCKETS,
    registers,
  });
  const total = new Histogram({
    name: 'kubelet_pod_start_total_duration_seconds',
    help: 'Duration in seconds to start a pod since creation, including time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch',
    labelNames: ['first_with_network'],
    buckets: BUCKETS,
    registers,
  });
  const sli = new Histogram({
    name: 'kubelet_pod_start_sli_duration_seconds',
    help: 'Duration in seconds to start a pod, excluding time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch',
    labelNames: ['first_with_network'],
    buckets: BUCKETS,
    registers,
  });
  const workers = new Histogram({
    name: 'kubelet_pod_worker_start_duration_seconds',
    help: 'Duration in seconds from kubelet seeing a pod to starting a worker.',
    registers,
  });
  /** By pod UID: from the start of the first pull to the end of the last. */
  const pulls = new Map<string, { startMs: number; endMs: number }>();
  let hasSeenNetwork = false;

  return {
    podWorkerStarted: (seconds) => workers.observe(seconds),
    imagePulled(uid, startMs, endMs) {
      const known = pulls.get(uid);
      pulls.set(uid, { startMs: Math.min(startMs, known?.startMs ?? startMs), endMs });
    },
    podStarted(seconds, pod, runtime) {
      starts.observe(seconds);
      const pulled = pulls.get(pod.metadata.uid);
      pulls.delete(pod.metadata.uid);
      // Pods that ran before this agent did, and static ones, whose creation is not when somebody asked for them, are left out as upstream.
      if (isStaticPod(pod) || (pod.status?.phase ?? 'Pending') !== 'Pending') return;
      const elapsedMs = clock.nowMs() - Date.parse(pod.metadata.creationTimestamp ?? '');
      if (!(elapsedMs >= 0)) return;
      const isFirst = !hasSeenNetwork && !pod.spec.hostNetwork;
      if (isFirst) hasSeenNetwork = true;
      const labels = { first_with_network: String(isFirst) };
      const pullMs = pulled ? pulled.endMs - pulled.startMs : 0;
      const inits = new Set(
        (pod.spec.initContainers ?? []).map(({ name, restartPolicy }) => (restartPolicy ? '' : name)),
      );
      const initMs = runtime.containers
        .filter(({ name }) => inits.has(name))
        .reduce((sum, { startedAtMs = 0, finishedAtMs = startedAtMs }) => sum + finishedAtMs - startedAtMs, 0);
      total.observe(labels, elapsedMs / 1000);
      sli.observe(labels, Math.max(0, elapsedMs - pullMs - initMs) / 1000);
    },
  };
}
