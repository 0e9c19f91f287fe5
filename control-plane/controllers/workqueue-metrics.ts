import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';

/** client-go's workqueue metrics, one label per controller. `depth` is asked when they are scraped. */
export function workqueueMetrics(registry: Registry, name: string, depth: () => number) {
  const labelNames = ['name'] as const;
  const existing = <M>(metric: string) => registry.getSingleMetric(metric) as M | undefined;
  const duration =
    existing<Histogram<'name'>>('workqueue_work_duration_seconds') ??
    new Histogram({
      name: 'workqueue_work_duration_seconds',
      help: 'How long in seconds processing an item from workqueue takes.',
      labelNames,
      buckets: [0.0001, 0.001, 0.01, 0.1, 1, 10, 100],
      registers: [registry],
    });
  const retries =
    existing<Counter<'name'>>('workqueue_retries_total') ??
    new Counter({
      name: 'workqueue_retries_total',
      help: 'Total number of retries handled by workqueue',
      labelNames,
      registers: [registry],
    });
  const depths = depthsOf(registry);
  depths.set(name, depth);
  return {
    worked: (seconds: number) => duration.observe({ name }, seconds),
    retried: () => retries.inc({ name }),
  };
}

const DEPTHS = new WeakMap<Registry, Map<string, () => number>>();

/** One gauge serves all queues of a registry. */
function depthsOf(registry: Registry): Map<string, () => number> {
  const known = DEPTHS.get(registry);
  if (known) return known;
  const depths = new Map<string, () => number>();
  DEPTHS.set(registry, depths);
  new Gauge({
    name: 'workqueue_depth',
    help: 'Current depth of workqueue',
    labelNames: ['name'] as const,
    registers: [registry],
    collect() {
      for (const [name, depth] of depths) this.set({ name }, depth());
    },
  });
  return depths;
}
