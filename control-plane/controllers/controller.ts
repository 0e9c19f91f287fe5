import type { KubeClient } from '../../src/kube/client.ts';
import { isConflict } from '../../src/kube/errors.ts';
import type { EventRecorder } from '../../src/kube/events.ts';
import type { Informer, InformerSet } from '../../src/kube/informer.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createKeyedQueue, type KeyedQueue } from '../../src/runtime/keyed-queue.ts';
import type { Logger } from '../../src/runtime/log.ts';

/** What every controller is given. */
export interface ControllerDependencies {
  client: KubeClient;
  informers: InformerSet;
  log: Logger;
  clock: Clock;
  /** Reports in the controller's own name. */
  events: EventRecorder;
}

export interface Controller {
  readonly name: string;
  /** Works until aborted; writes nothing before its informers have their first list. */
  run(signal: AbortSignal): Promise<void>;
}

export interface ReconcilerOptions {
  name: string;
  log: Logger;
  clock: Clock;
  /** Inputs that must be complete before the first reconcile. */
  inputs: Pick<Informer<never>, 'synced'>[];
  /** How many keys are worked on at once; 5 unless said, as upstream. */
  concurrency?: number;
  /** One pass over one key: observe, plan, apply. Throwing brings the key back with back-off. */
  reconcile(key: string, signal: AbortSignal): Promise<void>;
}

/** client-go's per-item rate limiter, with a shorter cap: 5 ms doubling to 100 s. */
const RETRY = { initialMs: 5, maxMs: 100_000 };

/** The loop that all controllers share: wait for the inputs, then work off a queue of keys. */
export function createReconciler(options: ReconcilerOptions): Controller & { queue: KeyedQueue } {
  const { name, clock } = options;
  const log = options.log.child({ controller: name });
  const queue = createKeyedQueue({
    concurrency: options.concurrency ?? 5,
    clock,
    retry: RETRY,
    process: options.reconcile,
    onError(key, error, delayMs) {
      // A lost race is everyday life: the next look sees what the other wrote.
      if (isConflict(error)) log.debug({ key, retryMs: delayMs }, 'the object changed meanwhile, looking again');
      else log.warn({ key, err: error, retryMs: delayMs }, 'reconciling failed, trying again');
    },
  });
  return {
    name,
    queue,
    async run(signal) {
      try {
        await Promise.all(options.inputs.map((input) => input.synced(signal)));
      } catch (error) {
        if (signal.aborted) return;
        throw error;
      }
      await queue.run(signal);
    },
  };
}
