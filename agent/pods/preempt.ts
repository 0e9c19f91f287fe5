import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { Counter, type Registry } from '../../src/runtime/metrics.ts';
import { podKey } from '../containers/identity.ts';
import type { EventSink } from './ports.ts';
import { ownGraceSeconds } from './work.ts';
import type { PodWorkers } from './workers.ts';

export interface PreemptDependencies {
  workers(): Pick<PodWorkers, 'condemn'>;
  events: EventSink;
  registry: Registry;
  clock: Clock;
  log: Logger;
}

const REASON = 'Preempting';
const MESSAGE = 'Preempted in order to admit critical pod';
/** The Engine gets half as long again as the grace, and at least this. */
const LEAST_PATIENCE_MS = 10_000;

/** Ends pods of the node so that a critical one has room. Resolves when all have ended, or take longer than their grace allows. */
export function createPreemption(deps: PreemptDependencies) {
  const { clock, log } = deps;
  const preemptions = new Counter({
    name: 'kubelet_preemptions',
    help: 'Cumulative number of pod preemptions by preemption resource',
    labelNames: ['preemption_signal'],
    registers: [deps.registry],
  });

  async function end(pod: Pod, resource: string, signal: AbortSignal): Promise<void> {
    deps.events.event(pod, 'Warning', REASON, MESSAGE);
    const patience = new AbortController();
    try {
      await Promise.race([
        deps.workers().condemn(pod.metadata.uid, {
          phase: 'Failed',
          reason: REASON,
          message: MESSAGE,
          condition: {
            type: 'DisruptionTarget',
            status: 'True',
            reason: 'TerminationByKubelet',
            message: 'Pod was preempted by Kubelet to accommodate a critical pod.',
          },
        }),
        tooLong(pod, AbortSignal.any([signal, patience.signal])),
      ]);
      preemptions.inc({ preemption_signal: resource });
    } catch (error) {
      signal.throwIfAborted();
      // It is on its way out: the critical pod does not wait for its last step (upstream neither).
      log.warn({ pod: podKey(pod), err: error }, 'a preempted pod has not ended yet');
    } finally {
      patience.abort();
    }
  }

  async function tooLong(pod: Pod, signal: AbortSignal): Promise<never> {
    const limitMs = Math.max(LEAST_PATIENCE_MS, ownGraceSeconds(pod) * 1500);
    await clock.sleep(limitMs, signal);
    throw new Error(`it takes longer than ${limitMs / 1000} s`);
  }

  return async function preempt(victims: readonly Pod[], resource: string, signal: AbortSignal): Promise<void> {
    for (const pod of victims) log.info({ pod: podKey(pod), resource }, 'ending a pod so that a critical one has room');
    await Promise.all(victims.map((pod) => end(pod, resource, signal)));
  };
}
