import { z } from 'zod';
import { type ConfigOf, duration, objects } from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';

const SECOND_MS = 1000;
const INT32_MAX = 2 ** 31 - 1;

const step = z.strictObject({
  priority: z
    .int()
    .min(-INT32_MAX - 1)
    .max(INT32_MAX),
  shutdownGracePeriodSeconds: z.int().min(0).max(INT32_MAX),
});

/** Graceful shutdown of the node. */
export const shutdownFields = {
  shutdownGracePeriod: duration(0),
  shutdownGracePeriodCriticalPods: duration(0),
  shutdownGracePeriodByPodPriority: objects(step, 'steps with priority and shutdownGracePeriodSeconds, whole numbers'),
};

export function validateShutdown(config: ConfigOf<typeof shutdownFields>, refuse: Refuse): void {
  const { shutdownGracePeriodMs: wholeMs, shutdownGracePeriodCriticalPodsMs: criticalMs } = config;
  for (const [field, ms] of [
    ['shutdownGracePeriod', wholeMs],
    ['shutdownGracePeriodCriticalPods', criticalMs],
  ] as const)
    if (ms > 0 && ms < SECOND_MS) refuse(field, `${ms}ms`, '0s (off), or 1s and more');
  if (criticalMs > wholeMs)
    refuse(
      'shutdownGracePeriodCriticalPods',
      `${criticalMs / SECOND_MS}s`,
      `at most shutdownGracePeriod (${wholeMs / SECOND_MS}s), whose last part it is`,
    );
  const steps = config.shutdownGracePeriodByPodPriority;
  if (steps.length > 0 && (wholeMs > 0 || criticalMs > 0))
    refuse(
      'shutdownGracePeriodByPodPriority',
      steps,
      'this list, or shutdownGracePeriod with shutdownGracePeriodCriticalPods, but not both',
    );
  const priorities = steps.map(({ priority }) => priority);
  const twice = priorities.find((one, index) => priorities.indexOf(one) !== index);
  if (twice !== undefined) refuse('shutdownGracePeriodByPodPriority', twice, 'each priority once');
}
