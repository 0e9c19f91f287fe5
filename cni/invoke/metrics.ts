import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';

export type NetworkOperation = 'set_up_pod' | 'tear_down_pod' | 'collect' | 'status';

export interface NetworkMetrics {
  /** Counts and times one operation; an error counts as one and is thrown on. */
  operation<T>(operation: NetworkOperation, work: () => Promise<T>): Promise<T>;
  /** The configuration in use; undefined: there is none. */
  configuration(now: { network: string; file: string } | undefined): void;
}

/** Names and labels of the operations are those that kubelet had for its network plugins. */
export function createNetworkMetrics(registry: Registry | undefined): NetworkMetrics {
  const registers = registry ? [registry] : [];
  const labelNames = ['operation_type'];
  const total = new Counter({
    name: 'kubelet_network_plugin_operations_total',
    help: 'Cumulative number of network plugin operations by operation type.',
    labelNames,
    registers,
  });
  const errors = new Counter({
    name: 'kubelet_network_plugin_operations_errors_total',
    help: 'Cumulative number of network plugin operation errors by operation type.',
    labelNames,
    registers,
  });
  const seconds = new Histogram({
    name: 'kubelet_network_plugin_operations_duration_seconds',
    help: 'Latency in seconds of network plugin operations. Broken down by operation type.',
    labelNames,
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const info = new Gauge({
    name: 'berth_cni_configuration_info',
    help: 'The network configuration that new pods get; file is empty for the built-in network.',
    labelNames: ['network', 'file'],
    registers,
  });
  return {
    async operation(operation_type, work) {
      total.inc({ operation_type });
      const startedMs = performance.now();
      try {
        return await work();
      } catch (error) {
        errors.inc({ operation_type });
        throw error;
      } finally {
        seconds.observe({ operation_type }, (performance.now() - startedMs) / 1000);
      }
    },
    configuration(now) {
      info.reset();
      if (now) info.set(now, 1);
    },
  };
}
