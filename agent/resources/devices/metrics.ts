import { Counter, Histogram, type Registry } from '../../../src/runtime/metrics.ts';

export interface DeviceMetrics {
  /** A plugin asked to be registered, whatever came of it. */
  registration(resource: string): void;
  /** A plugin's answer to Allocate has taken so long, an error too. */
  allocation(resource: string, seconds: number): void;
}

/** kubelet_device_plugin_*. */
export function createDeviceMetrics(registry: Registry): DeviceMetrics {
  const registrations = new Counter({
    name: 'kubelet_device_plugin_registration_total',
    help: 'Registrations that device plugins have asked for, by resource',
    labelNames: ['resource_name'],
    registers: [registry],
  });
  const allocations = new Histogram({
    name: 'kubelet_device_plugin_alloc_duration_seconds',
    help: 'How long device plugins take to answer Allocate, by resource',
    labelNames: ['resource_name'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  return {
    registration: (resource) => registrations.inc({ resource_name: resource }),
    allocation: (resource, seconds) => allocations.observe({ resource_name: resource }, seconds),
  };
}
