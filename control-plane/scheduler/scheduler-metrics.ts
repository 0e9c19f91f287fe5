import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';

export type AttemptResult = 'scheduled' | 'unschedulable' | 'error';

/** kube-scheduler's metrics that dashboards ask for most. One scheduler per registry. */
export function schedulerMetrics(registry: Registry, profile: string, pending: () => Record<string, number>) {
  const labelNames = ['result', 'profile'] as const;
  const attempts = new Counter({
    name: 'scheduler_schedule_attempts_total',
    help: 'Number of attempts to schedule pods, by the result.',
    labelNames,
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'scheduler_scheduling_attempt_duration_seconds',
    help: 'Scheduling attempt latency in seconds (scheduling algorithm + binding)',
    labelNames,
    buckets: [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 4],
    registers: [registry],
  });
  new Gauge({
    name: 'scheduler_pending_pods',
    help: 'Number of pending pods, by the queue type.',
    labelNames: ['queue'] as const,
    registers: [registry],
    collect() {
      for (const [queue, count] of Object.entries(pending())) this.set({ queue }, count);
    },
  });
  return (result: AttemptResult, seconds: number) => {
    attempts.inc({ result, profile });
    duration.observe({ result, profile }, seconds);
  };
}
