import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';

/** What a queue tells when somebody scrapes. */
export interface WorkqueueState {
  /** Keys that wait. */
  depth(): number;
  /** How long each of the keys under way has been worked on. */
  runningSeconds(): number[];
}

const BUCKETS = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1000];

/** client-go's workqueue metrics, one label per controller; all queues of a registry share them. */
export function workqueueMetrics(registry: Registry, name: string, state: WorkqueueState) {
  const { adds, retries, waited, worked, states } = familyOf(registry);
  states.set(name, state);
  adds.inc({ name }, 0);
  retries.inc({ name }, 0);
  return {
    added: () => adds.inc({ name }),
    waited: (seconds: number) => waited.observe({ name }, seconds),
    worked: (seconds: number) => worked.observe({ name }, seconds),
    retried: () => retries.inc({ name }),
  };
}

const FAMILIES = new WeakMap<Registry, ReturnType<typeof createFamily>>();

function familyOf(registry: Registry) {
  const family = FAMILIES.get(registry) ?? createFamily(registry);
  FAMILIES.set(registry, family);
  return family;
}

function createFamily(registry: Registry) {
  const common = { labelNames: ['name'] as const, registers: [registry] };
  const states = new Map<string, WorkqueueState>();
  const gauge = (metric: string, help: string, ask: (state: WorkqueueState) => number) =>
    new Gauge({
      name: metric,
      help,
      ...common,
      collect() {
        for (const [name, state] of states) this.set({ name }, ask(state));
      },
    });
  gauge('workqueue_depth', 'Current depth of workqueue', (state) => state.depth());
  gauge(
    'workqueue_unfinished_work_seconds',
    "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.",
    (state) => state.runningSeconds().reduce((sum, seconds) => sum + seconds, 0),
  );
  gauge(
    'workqueue_longest_running_processor_seconds',
    'How many seconds has the longest running processor for workqueue been running.',
    (state) => Math.max(0, ...state.runningSeconds()),
  );
  return {
    states,
    adds: new Counter({ name: 'workqueue_adds_total', help: 'Total number of adds handled by workqueue', ...common }),
    retries: new Counter({
      name: 'workqueue_retries_total',
      help: 'Total number of retries handled by workqueue',
      ...common,
    }),
    waited: new Histogram({
      name: 'workqueue_queue_duration_seconds',
      help: 'How long in seconds an item stays in workqueue before being requested.',
      buckets: BUCKETS,
      ...common,
    }),
    worked: new Histogram({
      name: 'workqueue_work_duration_seconds',
      help: 'How long in seconds processing an item from workqueue takes.',
      buckets: BUCKETS,
      ...common,
    }),
  };
}
