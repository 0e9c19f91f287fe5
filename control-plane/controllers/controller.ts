import type { KubeClient } from '../../src/kube/client.ts';
import { isConflict } from '../../src/kube/errors.ts';
import type { EventRecorder } from '../../src/kube/events.ts';
import type { Informer, InformerSet } from '../../src/kube/informer.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import { createKeyedQueue, type KeyedQueue } from '../../src/runtime/keyed-queue.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { workqueueMetrics } from './workqueue-metrics.ts';

/** What every controller is given. */
export interface ControllerDependencies {
  client: KubeClient;
  informers: InformerSet;
  log: Logger;
  clock: Clock;
  /** Reports in the controller's own name. */
  events: EventRecorder;
  /** Where the workqueue_* metrics go. */
  metrics?: Registry;
  /** Told that the loop is alive, unless one of its keys takes too long. */
  heartbeats?: Heartbeats;
}

export interface Controller {
  readonly name: string;
  /** Works until aborted; writes nothing before its informers have their first list. */
  run(signal: AbortSignal): Promise<void>;
}

export interface ReconcilerOptions {
  name: string;
  /** Inputs that must be complete before the first reconcile. */
  inputs: Pick<Informer<never>, 'synced'>[];
  /** How many keys are worked on at once; 5 unless said, as upstream. */
  concurrency?: number;
  /** One pass over one key: observe, plan, apply. Throwing brings the key back with back-off. */
  reconcile(key: string, signal: AbortSignal): Promise<void>;
}

/** client-go's per-item rate limiter, with a shorter cap: 5 ms doubling to 100 s. */
const RETRY = { initialMs: 5, maxMs: 100_000 };
/** A pass that takes longer than this hangs: requests have timeouts of a minute. */
const LONGEST_PASS_MS = 180_000;
const BEAT_MS = 10_000;

/** The loop that all controllers share: wait for the inputs, then work off a queue of keys. */
export function createReconciler(
  options: ReconcilerOptions,
  {
    clock,
    metrics,
    heartbeats,
    ...dependencies
  }: Pick<ControllerDependencies, 'log' | 'clock' | 'metrics' | 'heartbeats'>,
): Controller & { queue: KeyedQueue } {
  const { name } = options;
  const log = dependencies.log.child({ controller: name });
  const measures =
    metrics &&
    workqueueMetrics(metrics, name, {
      depth: () => queue.size() - startedMs.size,
      runningSeconds: () => [...startedMs.values()].map((startMs) => (clock.monotonicMs() - startMs) / 1000),
    });
  const startedMs = new Map<string, number>();
  const addedMs = new Map<string, number>();
  const queue = createKeyedQueue({
    concurrency: options.concurrency ?? 5,
    clock,
    retry: RETRY,
    async process(key, signal) {
      const startMs = clock.monotonicMs();
      startedMs.set(key, startMs);
      measures?.waited((startMs - (addedMs.get(key) ?? startMs)) / 1000);
      addedMs.delete(key);
      try {
        await options.reconcile(key, signal);
      } finally {
        startedMs.delete(key);
        measures?.worked((clock.monotonicMs() - startMs) / 1000);
      }
    },
    onAdd(key) {
      addedMs.set(key, clock.monotonicMs());
      measures?.added();
    },
    onError(key, error, delayMs) {
      measures?.retried();
      // A lost race is everyday life: the next look sees what the other wrote.
      if (isConflict(error)) log.debug({ key, retryMs: delayMs }, 'the object changed meanwhile, looking again');
      else log.warn({ key, err: error, retryMs: delayMs }, 'reconciling failed, trying again');
    },
  });

  async function beatWhileAlive(registry: Heartbeats, signal: AbortSignal): Promise<void> {
    const beat = registry.register(name, BEAT_MS * 3);
    while (!signal.aborted) {
      const oldestMs = Math.min(...startedMs.values());
      if (clock.monotonicMs() - oldestMs < LONGEST_PASS_MS || startedMs.size === 0) beat();
      await clock.sleep(BEAT_MS, signal).catch(() => {});
    }
  }

  return {
    name,
    queue,
    async run(signal) {
      const beating = heartbeats && beatWhileAlive(heartbeats, signal);
      try {
        await Promise.all(options.inputs.map((input) => input.synced(signal)));
        await queue.run(signal);
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      await beating;
    },
  };
}
