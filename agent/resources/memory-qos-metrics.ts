import { Gauge, type Registry } from '../../src/runtime/metrics.ts';

/** How much of the node's memory its pods keep from being reclaimed. */
export function registerMemoryQosMetrics(
  registry: Registry,
  protectedMemory: () => { minBytes: number; lowBytes: number },
): void {
  const register = (which: 'min' | 'low', what: string, read: () => number) =>
    new Gauge({
      name: `kubelet_memory_qos_node_memory_${which}_bytes`,
      help: `Bytes of memory.${which} of all pods together: ${what}.`,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  register('min', 'what Guaranteed pods request, never reclaimed', () => protectedMemory().minBytes);
  register('low', 'what Burstable pods request, reclaimed last', () => protectedMemory().lowBytes);
}
