import type { Pod } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { PodVerdict } from '../../pods/verdict.ts';
import { groupByPriority, type ShutdownGroup, type ShutdownPeriod, shutdownDelayMs } from './periods.ts';

/** What a shutdown needs of the pods (implemented by agent/pods). */
export interface ShutdownPods {
  /** Every source has spoken: before, an agent that has just started knows none of its pods. */
  isComplete(): boolean;
  /** Those that have not ended. */
  active(): Pod[];
  /** Fails the pod; resolves when its last container has ended. */
  condemn(uid: string, verdict: PodVerdict): Promise<void>;
  /** Its volumes are unmounted, its cgroup is gone: nothing of it needs the next step's pods (a CSI driver among them). */
  isReleased(uid: string): boolean;
}

const MESSAGE = 'Pod was terminated in response to imminent node shutdown.';
const POLL_MS = 100;

/** As upstream publishes it: the pod's own phase, and a condition that says who is not to blame. */
function shutdownVerdict(graceSeconds: number): PodVerdict {
  return {
    phase: 'Failed',
    reason: 'Terminated',
    message: MESSAGE,
    graceSeconds,
    condition: { type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet', message: MESSAGE },
  };
}

/**
 * Ends the pods step by step, the lowest priority first. A step is over when nothing is left of its pods, or its time is up: pods that are
 * not done by then go on ending beside the next step. Resolves early when `signal` says that the shutdown was called off.
 */
export async function terminateByPriority(
  periods: readonly ShutdownPeriod[],
  deps: { pods: ShutdownPods; clock: Clock; log: Logger },
  signal: AbortSignal,
): Promise<void> {
  const limitMs = deps.clock.monotonicMs() + shutdownDelayMs(periods);
  while (!deps.pods.isComplete() && !signal.aborted && deps.clock.monotonicMs() < limitMs)
    await deps.clock.sleep(POLL_MS, signal).catch(() => {});
  for (const group of groupByPriority(periods, deps.pods.active())) {
    if (signal.aborted) return;
    if (group.pods.length > 0) await terminateGroup(group, deps, signal);
  }
}

async function terminateGroup(
  group: ShutdownGroup,
  { pods, clock, log }: { pods: ShutdownPods; clock: Clock; log: Logger },
  signal: AbortSignal,
): Promise<void> {
  const { priority, seconds } = group;
  log.info({ priority, seconds, pods: group.pods.length }, 'node shutdown: ending pods');
  const over = new AbortController();
  const cancel = clock.after(seconds * 1000, () => over.abort());
  const either = AbortSignal.any([over.signal, signal]);
  const ended = Promise.all(
    group.pods.map(async ({ metadata }) => {
      await pods.condemn(metadata.uid, shutdownVerdict(seconds)).catch((error: unknown) => {
        if (!signal.aborted) log.warn({ err: error, pod: `${metadata.namespace}/${metadata.name}` }, 'pod did not end');
      });
      while (!either.aborted && !pods.isReleased(metadata.uid)) await clock.sleep(POLL_MS, either).catch(() => {});
    }),
  );
  try {
    await Promise.race([ended, untilAborted(either)]);
    if (over.signal.aborted) {
      const left = group.pods.filter(({ metadata }) => !pods.isReleased(metadata.uid));
      const names = left.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
      log.warn({ priority, seconds, pods: names }, 'node shutdown: the time of these pods is up');
    }
  } finally {
    cancel();
    over.abort();
  }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
