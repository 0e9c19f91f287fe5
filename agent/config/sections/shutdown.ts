import { anything, duration, unsupported } from '../../../src/config/field.ts';

/** Graceful shutdown of the node. */
export const shutdownFields = {
  shutdownGracePeriod: unsupported(duration(0)),
  shutdownGracePeriodCriticalPods: unsupported(duration(0)),
  shutdownGracePeriodByPodPriority: unsupported(anything()),
};
