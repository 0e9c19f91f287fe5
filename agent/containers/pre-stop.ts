import type { Container, Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { EventSink } from '../pods/ports.ts';
import type { LifecycleHooks } from './hooks.ts';
import { podKey } from './identity.ts';

export interface PreStopTarget {
  pod: Pod;
  container: Container;
  containerId: string;
  podIp: string | undefined;
  /** For the event of a failure. */
  fieldPath: string;
}

export interface PreStopHooks {
  /**
   * Runs the container's preStop hook for at most the grace; resolves to the whole seconds that are left. A hook runs
   * once for a container: a termination that is asked for again, with less grace, goes on waiting for the same run.
   */
  run(target: PreStopTarget, graceSeconds: number, signal: AbortSignal): Promise<number>;
  /** The container is gone. */
  forget(containerId: string): void;
}

interface Run {
  /** Never rejects: a failure has been told already. */
  over: Promise<void>;
  abort: AbortController;
  waiting: number;
}

/** A run that nobody waits for any more (the agent stops) ends this soon; a shorter termination takes it over at once. */
const ABANDONED_MS = 1_000;

export function createPreStopHooks(deps: { hooks: LifecycleHooks; events: EventSink; clock: Clock; log: Logger }) {
  const { hooks, events, clock, log } = deps;
  const runs = new Map<string, Run>();

  function begin({ pod, container, containerId, podIp, fieldPath }: PreStopTarget): Run {
    const abort = new AbortController();
    const handler = container.lifecycle!.preStop!;
    const work = untilAborted(
      hooks.run(handler, { pod, container, containerId, podIp, signal: abort.signal }),
      abort.signal,
    );
    const over = work.catch((error) => {
      log.warn({ pod: podKey(pod), container: container.name, err: error }, 'preStop hook failed');
      const why = error instanceof Error ? `: ${error.message}` : '';
      events.event(pod, 'Warning', 'FailedPreStopHook', `PreStopHook failed${why}`, fieldPath);
    });
    return { over, abort, waiting: 0 };
  }

  const preStop: PreStopHooks = {
    async run(target, graceSeconds, signal) {
      if (!target.container.lifecycle?.preStop || graceSeconds <= 0) return graceSeconds;
      const run = runs.get(target.containerId) ?? begin(target);
      runs.set(target.containerId, run);
      const startedMs = clock.monotonicMs();
      const cancel = clock.after(graceSeconds * 1000, () =>
        run.abort.abort(new Error(`preStop hook took over ${graceSeconds} s`)),
      );
      run.waiting++;
      try {
        await untilAborted(run.over, signal);
      } finally {
        cancel();
        if (--run.waiting === 0 && signal.aborted)
          clock.after(ABANDONED_MS, () => {
            if (run.waiting === 0) run.abort.abort(signal.reason);
          });
      }
      return Math.max(0, graceSeconds - Math.floor((clock.monotonicMs() - startedMs) / 1000));
    },
    forget(containerId) {
      runs.delete(containerId);
    },
  };
  return preStop;
}

/** The promise, given up when the signal aborts (an exec in the Engine cannot be taken back). */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
