import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';
import { isStaticPod } from '../pods/annotations.ts';
import type { AgentMetrics } from '../pods/ports.ts';
import type { PodWork, WorkState } from '../pods/work.ts';

/** Lifecycle words of upstream's pod workers. */
const LIFECYCLE: Record<WorkState, string> = {
  syncing: 'sync',
  terminating: 'terminating',
  terminated: 'terminated',
  finished: 'terminated',
};

/** Gauges of the pods that the workers have, counted when they are asked for. */
export function registerPodCounts({ registry, list }: { registry: Registry; list(): readonly PodWork[] }): void {
  const registers = [registry];
  const isActive = ({ isAdmitted, state }: PodWork) => isAdmitted && (state === 'syncing' || state === 'terminating');
  new Gauge({
    name: 'kubelet_active_pods',
    help: 'The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.',
    labelNames: ['static'],
    registers,
    collect() {
      for (const value of [true, false])
        this.set(
          { static: String(value) },
          list().filter((work) => isActive(work) && isStaticPod(work.pod) === value).length,
        );
    },
  });
  new Gauge({
    name: 'kubelet_mirror_pods',
    help: 'The number of mirror pods the kubelet will try to create (one per admitted static pod)',
    registers,
    collect() {
      this.set(list().filter(({ pod, isOrphan, isGone }) => isStaticPod(pod) && !isOrphan && !isGone).length);
    },
  });
  new Gauge({
    name: 'kubelet_working_pods',
    help: 'Number of pods the kubelet is actually running, broken down by lifecycle phase, whether the pod is desired, orphaned, or runtime only (also orphaned), and whether the pod is static. An orphaned pod has been removed from local configuration or force deleted in the API and consumes resources that are not otherwise visible.',
    labelNames: ['lifecycle', 'config', 'static'],
    registers,
    collect() {
      this.reset();
      for (const lifecycle of ['sync', 'terminating', 'terminated'])
        for (const config of ['desired', 'orphan'])
          for (const isStatic of ['true', 'false']) this.set({ lifecycle, config, static: isStatic }, 0);
      for (const lifecycle of ['terminating', 'terminated'])
        this.set({ lifecycle, config: 'runtime_only', static: 'unknown' }, 0);
      for (const { state, isOrphan, isGone, pod } of list()) {
        const config = isOrphan ? 'runtime_only' : isGone ? 'orphan' : 'desired';
        this.inc({
          lifecycle: LIFECYCLE[state],
          config,
          static: isOrphan ? 'unknown' : String(isStaticPod(pod)),
        });
      }
    },
  });
  new Gauge({
    name: 'kubelet_managed_ephemeral_containers',
    help: 'Current number of ephemeral containers in pods managed by this kubelet.',
    registers,
    collect() {
      this.set(list().reduce((sum, { pod }) => sum + (pod.spec.ephemeralContainers?.length ?? 0), 0));
    },
  });
}

/** What happens to pods seldom enough to be counted one by one. */
export function createPodEventMetrics(
  registry: Registry,
): Pick<AgentMetrics, 'orphanFound' | 'podRestarted' | 'podAdded'> {
  const registers = [registry];
  const orphans = new Counter({
    name: 'kubelet_orphaned_runtime_pods_total',
    help: 'Number of pods that have been detected in the container runtime without being already known to the pod worker. This typically indicates the kubelet was restarted while a pod was force deleted in the API or in the local configuration, which is unusual.',
    registers,
  });
  const restarted = new Counter({
    name: 'kubelet_restarted_pods_total',
    help: 'Number of pods that have been restarted because they were deleted and recreated with the same UID while the kubelet was watching them (common for static pods, extremely uncommon for API pods)',
    labelNames: ['static'],
    registers,
  });
  for (const value of ['', 'true']) restarted.inc({ static: value }, 0);
  const containers = new Histogram({
    name: 'kubelet_containers_per_pod_count',
    help: 'The number of containers per pod.',
    buckets: [1, 2, 4, 8, 16],
    registers,
  });
  return {
    orphanFound: () => orphans.inc(),
    // Upstream's own spelling of the label.
    podRestarted: (isStatic) => restarted.inc({ static: isStatic ? 'true' : '' }),
    podAdded: (count) => containers.observe(count),
  };
}
