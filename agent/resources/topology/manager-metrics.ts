import { Counter, Gauge, Histogram, type Registry } from '../../../src/runtime/metrics.ts';

/** How CPUs are given out now. */
export interface CpuFigures {
  /** Of CPUs that could still become somebody's own. */
  sharedMillis: number;
  exclusive: number;
  /** Exclusive CPUs by NUMA node. */
  perNuma: ReadonlyMap<number, number>;
}

export type AlignmentScope = 'container' | 'pod';
export type AlignmentBoundary = 'numa_node' | 'physical_cpu' | 'uncore_cache';

/** What /metrics shows of the CPU, memory and topology managers. */
export interface ManagerMetrics {
  cpus(figures: CpuFigures): void;
  cpuPinning(): void;
  cpuPinningFailed(): void;
  memoryPinning(): void;
  memoryPinningFailed(): void;
  /** One pod was looked at, in so many milliseconds. */
  admission(durationMs: number, admitted: boolean): void;
  aligned(scope: AlignmentScope, boundary: AlignmentBoundary): void;
  misaligned(scope: AlignmentScope, boundary: AlignmentBoundary): void;
}

/** The kubelet's series of its resource managers, under its names. */
export function createManagerMetrics(registry: Registry): ManagerMetrics {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Counter({ name, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Gauge({ name, help, labelNames, registers });
  const pinnings = counter(
    'kubelet_cpu_manager_pinning_requests_total',
    'The number of cpu core allocations which required pinning.',
  );
  const pinningErrors = counter(
    'kubelet_cpu_manager_pinning_errors_total',
    'The number of cpu core allocations which required pinning failed.',
  );
  const shared = gauge(
    'kubelet_cpu_manager_shared_pool_size_millicores',
    'The size of the shared CPU pool for non-guaranteed QoS pods, in millicores.',
  );
  const exclusive = gauge(
    'kubelet_cpu_manager_exclusive_cpu_allocation_count',
    'The total number of CPUs exclusively allocated to containers running on this node',
  );
  const perNuma = gauge('kubelet_cpu_manager_allocation_per_numa', 'Number of CPUs allocated per NUMA node', [
    'numa_node',
  ]);
  const memory = counter(
    'kubelet_memory_manager_pinning_requests_total',
    'The number of memory pages allocations which required pinning.',
  );
  const memoryErrors = counter(
    'kubelet_memory_manager_pinning_errors_total',
    'The number of memory pages allocations which required pinning that failed.',
  );
  const admissions = counter(
    'kubelet_topology_manager_admission_requests_total',
    'The number of admission requests where resources have to be aligned.',
  );
  const admissionErrors = counter(
    'kubelet_topology_manager_admission_errors_total',
    'The number of admission request failures where resources could not be aligned.',
  );
  const duration = new Histogram({
    name: 'kubelet_topology_manager_admission_duration_ms',
    help: 'Duration in milliseconds to serve a pod admission request.',
    // Upstream's: doubling from 0.05 ms.
    buckets: Array.from({ length: 15 }, (_, index) => 0.05 * 2 ** index),
    registers,
  });
  const aligned = counter(
    'kubelet_container_aligned_compute_resources_count',
    'Cumulative number of aligned compute resources allocated to containers by alignment type.',
    ['scope', 'boundary'],
  );
  const misaligned = counter(
    'kubelet_container_aligned_compute_resources_failure_count',
    'Cumulative number of failures to allocate aligned compute resources to containers by alignment type.',
    ['scope', 'boundary'],
  );
  // They exist from the start, so that the first failure shows as an increase.
  for (const boundary of ['physical_cpu', 'uncore_cache'] as const) aligned.inc({ scope: 'container', boundary }, 0);
  misaligned.inc({ scope: 'container', boundary: 'physical_cpu' }, 0);
  return {
    cpus(figures) {
      shared.set(figures.sharedMillis);
      exclusive.set(figures.exclusive);
      for (const [node, count] of figures.perNuma) perNuma.set({ numa_node: String(node) }, count);
    },
    cpuPinning: () => pinnings.inc(),
    cpuPinningFailed: () => pinningErrors.inc(),
    memoryPinning: () => memory.inc(),
    memoryPinningFailed: () => memoryErrors.inc(),
    admission(durationMs, admitted) {
      admissions.inc();
      if (!admitted) admissionErrors.inc();
      duration.observe(durationMs);
    },
    aligned: (scope, boundary) => aligned.inc({ scope, boundary }),
    misaligned: (scope, boundary) => misaligned.inc({ scope, boundary }),
  };
}
