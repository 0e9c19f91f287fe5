import type { Clock } from '../../src/runtime/clock.ts';
import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';
import type { AgentMetrics, PodDirectory } from '../pods/ports.ts';
import type { ProbeReport } from '../probes/worker.ts';
import { isStaticPod } from '../status/phase.ts';
import { createPodEventMetrics } from './pod-counts.ts';
import { createPodStartMetrics } from './pod-starts.ts';
import { rejectionLabel } from './rejection-reasons.ts';

/** Berth looks at all containers when Docker's events give reason to, else once a minute; upstream's buckets end at 10 s. */
const RELIST_INTERVAL_BUCKETS = [0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 90, 120, 180];

/** Pods run with the node's one runtime; RuntimeClasses name none of their own. */
const DEFAULT_HANDLER = { runtime_handler: '' };

export interface NodeMetrics extends AgentMetrics {
  /** kubelet_cgroup_manager_duration_seconds. */
  cgroups(operation: 'update' | 'destroy', call: () => Promise<void>): Promise<void>;
  /** kubelet_pod_status_sync_duration_seconds. */
  statusPublished(seconds: number): void;
  /** kubelet_admission_rejections_total{reason}. */
  rejected(reason: string): void;
  /** prober_probe_total and prober_probe_duration_seconds, in the registry of /metrics/probes. */
  probed(report: ProbeReport): void;
  /** The series of a probe that runs no more go. */
  probeEnded(probe: Pick<ProbeReport, 'pod' | 'container' | 'type'>): void;
  /** A request to the node's port begins; the returned function ends it: kubelet_http_inflight_requests, kubelet_http_requests_total and its duration. */
  request(labels: { method: string; path: string; longRunning: boolean; serverType: 'readwrite' }): () => void;
}

/**
 * The agent's series under the kubelet's names.
 * @param registry what /metrics shows; @param probeRegistry what /metrics/probes shows.
 */
export function createNodeMetrics(
  options: { nodeName: string },
  deps: { registry: Registry; probeRegistry: Registry; pods: Pick<PodDirectory, 'list' | 'runtime'>; clock: Clock },
): NodeMetrics {
  const registers = [deps.registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, labelNames: L[], buckets?: number[]) =>
    new Histogram({ name, help, labelNames, registers, ...(buckets && { buckets }) });

  const nodeName = new Gauge({
    name: 'kubelet_node_name',
    help: "The node's name. The count is always 1.",
    labelNames: ['node'],
    registers,
  });
  nodeName.set({ node: options.nodeName }, 1);
  registerPodGauges(deps);

  const workers = histogram(
    'kubelet_pod_worker_duration_seconds',
    'Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync',
    ['operation_type'],
  );
  const published = histogram(
    'kubelet_pod_status_sync_duration_seconds',
    'Duration in seconds to sync a pod status update. Measures time from detection of a change to pod status until the API is successfully updated for that pod, even if multiple intevening changes to pod status occur.',
    [],
  );
  const startedPods = counter('kubelet_started_pods_total', 'Cumulative number of pods started', []);
  const startedPodErrors = counter(
    'kubelet_started_pods_errors_total',
    'Cumulative number of errors when starting pods',
    [],
  );
  const startedContainers = counter('kubelet_started_containers_total', 'Cumulative number of containers started', [
    'container_type',
  ]);
  const startedContainerErrors = counter(
    'kubelet_started_containers_errors_total',
    'Cumulative number of errors when starting containers',
    ['container_type', 'code'],
  );
  const operations = counter(
    'kubelet_runtime_operations_total',
    'Cumulative number of runtime operations by operation type.',
    ['operation_type'],
  );
  const operationErrors = counter(
    'kubelet_runtime_operations_errors_total',
    'Cumulative number of runtime operation errors by operation type.',
    ['operation_type'],
  );
  const operationSeconds = histogram(
    'kubelet_runtime_operations_duration_seconds',
    'Duration in seconds of runtime operations. Broken down by operation type.',
    ['operation_type'],
  );
  const sandboxSeconds = histogram(
    'kubelet_run_podsandbox_duration_seconds',
    'Duration in seconds of the run_podsandbox operations. Broken down by RuntimeClass.Handler.',
    ['runtime_handler'],
  );
  const sandboxErrors = counter(
    'kubelet_run_podsandbox_errors_total',
    'Cumulative number of the run_podsandbox operation errors by RuntimeClass.Handler.',
    ['runtime_handler'],
  );
  const httpFallbacks = counter(
    'kubelet_lifecycle_handler_http_fallbacks_total',
    'The number of times lifecycle handlers successfully fell back to http from https.',
    [],
  );
  const rejections = counter(
    'kubelet_admission_rejections_total',
    'Cumulative number pod admission rejections by the Kubelet.',
    ['reason'],
  );
  const requests = counter(
    'kubelet_http_requests_total',
    'Number of the http requests received since the server started',
    ['method', 'path', 'server_type', 'long_running'],
  );
  const requestSeconds = histogram(
    'kubelet_http_requests_duration_seconds',
    'Duration in seconds to serve http requests',
    ['method', 'path', 'server_type', 'long_running'],
  );
  const inflight = new Gauge({
    name: 'kubelet_http_inflight_requests',
    help: 'Number of the inflight http requests',
    labelNames: ['method', 'path', 'server_type', 'long_running'],
    registers,
  });
  const relists = histogram(
    'kubelet_pleg_relist_duration_seconds',
    'Duration in seconds for relisting pods in PLEG.',
    [],
  );
  const relistIntervals = histogram(
    'kubelet_pleg_relist_interval_seconds',
    'Interval in seconds between relisting in PLEG.',
    [],
    RELIST_INTERVAL_BUCKETS,
  );
  const lastRelist = new Gauge({
    name: 'kubelet_pleg_last_seen_seconds',
    help: 'Timestamp in seconds when PLEG was last seen active.',
    registers,
  });
  let relistedMs: number | undefined;
  const cgroupSeconds = histogram(
    'kubelet_cgroup_manager_duration_seconds',
    'Duration in seconds for cgroup manager operations. Broken down by method.',
    ['operation_type'],
  );
  const probes = new Counter({
    name: 'prober_probe_total',
    help: 'Cumulative number of a liveness, readiness or startup probe for a container by result.',
    labelNames: ['probe_type', 'result', 'container', 'pod', 'namespace', 'pod_uid'],
    registers: [deps.probeRegistry],
  });
  const probeSeconds = new Histogram({
    name: 'prober_probe_duration_seconds',
    help: 'Duration in seconds for a probe response.',
    labelNames: ['probe_type', 'container', 'pod', 'namespace'],
    registers: [deps.probeRegistry],
  });

  return {
    podWorker: (operation_type, seconds) => workers.observe({ operation_type }, seconds),
    ...createPodStartMetrics(deps),
    ...createPodEventMetrics(deps.registry),
    statusPublished: (seconds) => published.observe(seconds),
    containerStarted(container_type, code) {
      if (container_type === 'podsandbox') (code === undefined ? startedPods : startedPodErrors).inc();
      if (code === undefined) startedContainers.inc({ container_type });
      else startedContainerErrors.inc({ container_type, code });
    },
    async runtimeOperation(operation_type, call) {
      operations.inc({ operation_type });
      const done = operationSeconds.startTimer({ operation_type });
      const isSandbox = operation_type === 'run_podsandbox';
      try {
        return await call();
      } catch (error) {
        operationErrors.inc({ operation_type });
        if (isSandbox) sandboxErrors.inc(DEFAULT_HANDLER);
        throw error;
      } finally {
        const seconds = done();
        if (isSandbox) sandboxSeconds.observe(DEFAULT_HANDLER, seconds);
      }
    },
    lifecycleHttpFallback: () => httpFallbacks.inc(),
    async relist(call) {
      const startMs = deps.clock.monotonicMs();
      if (relistedMs !== undefined) relistIntervals.observe((startMs - relistedMs) / 1000);
      relistedMs = startMs;
      await call();
      relists.observe((deps.clock.monotonicMs() - startMs) / 1000);
      lastRelist.set(deps.clock.nowMs() / 1000);
    },
    async cgroups(operation_type, call) {
      const done = cgroupSeconds.startTimer({ operation_type });
      try {
        await call();
      } finally {
        done();
      }
    },
    rejected: (reason) => rejections.inc({ reason: rejectionLabel(reason) }),
    probed(report) {
      const labels = probeLabels(report);
      const { result, seconds, pod } = report;
      probes.inc({ ...labels, result, pod_uid: pod.metadata.uid });
      if (result !== 'failed') probeSeconds.observe(labels, seconds);
    },
    probeEnded(probe) {
      const labels = probeLabels(probe);
      for (const result of ['successful', 'failed', 'unknown'])
        probes.remove({ ...labels, result, pod_uid: probe.pod.metadata.uid });
      probeSeconds.remove(labels);
    },
    request({ method, path, longRunning, serverType }) {
      const labels = { method, path, server_type: serverType, long_running: String(longRunning) };
      const startMs = deps.clock.monotonicMs();
      inflight.inc(labels);
      return () => {
        inflight.dec(labels);
        requests.inc(labels);
        requestSeconds.observe(labels, (deps.clock.monotonicMs() - startMs) / 1000);
      };
    },
  };
}

function probeLabels({ pod, container, type }: Pick<ProbeReport, 'pod' | 'container' | 'type'>) {
  const { name, namespace = '' } = pod.metadata;
  return { probe_type: type[0]!.toUpperCase() + type.slice(1), container: container.name, pod: name, namespace };
}

/** Gauges that are counted when they are asked for. */
function registerPodGauges({ registry, pods }: { registry: Registry; pods: Pick<PodDirectory, 'list' | 'runtime'> }) {
  const registers = [registry];
  new Gauge({
    name: 'kubelet_running_pods',
    help: 'Number of pods that have a running pod sandbox',
    registers,
    collect() {
      const running = pods
        .list()
        .filter(({ metadata }) => pods.runtime(metadata.uid)?.sandboxes.some(({ state }) => state === 'running'));
      this.set(running.length);
    },
  });
  new Gauge({
    name: 'kubelet_running_containers',
    help: 'Number of containers currently running',
    labelNames: ['container_state'],
    registers,
    collect() {
      this.reset();
      for (const state of ['created', 'running', 'exited', 'unknown']) this.set({ container_state: state }, 0);
      for (const { metadata } of pods.list())
        for (const { state } of pods.runtime(metadata.uid)?.containers ?? []) this.inc({ container_state: state });
    },
  });
  new Gauge({
    name: 'kubelet_desired_pods',
    help: 'The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.',
    labelNames: ['static'],
    registers,
    collect() {
      for (const value of [true, false])
        this.set({ static: String(value) }, pods.list().filter((pod) => isStaticPod(pod) === value).length);
    },
  });
}
