import { Counter, Histogram, type Registry } from '../../src/runtime/metrics.ts';

export interface EvictionMetrics {
  /** A pod went; `signal` is the starved signal or the limit that it broke. */
  evicted(signal: string): void;
  /** How old the figures were by which a pod was chosen. */
  statsAge(signal: string, seconds: number): void;
}

/** kubelet_evictions and kubelet_eviction_stats_age_seconds. */
export function createEvictionMetrics(registry: Registry): EvictionMetrics {
  const registers = [registry];
  const labelNames = ['eviction_signal'];
  const evictions = new Counter({
    name: 'kubelet_evictions',
    help: 'Cumulative number of pod evictions by eviction signal',
    labelNames,
    registers,
  });
  const age = new Histogram({
    name: 'kubelet_eviction_stats_age_seconds',
    help: 'Time between when stats are collected, and when pod is evicted based on those stats by eviction signal',
    labelNames,
    registers,
  });
  return {
    evicted: (signal) => evictions.inc({ eviction_signal: signal }),
    statsAge: (signal, seconds) => age.observe({ eviction_signal: signal }, Math.max(0, seconds)),
  };
}
