import type { Pod } from '../../../src/kube/types.ts';

/** One step of a graceful shutdown: pods from this priority on (up to the next step's) get this long. */
export interface ShutdownPeriod {
  priority: number;
  seconds: number;
}

export interface ShutdownGroup extends ShutdownPeriod {
  pods: Pod[];
}

/** What pods without a class have. */
const DEFAULT_PRIORITY = 0;
/** scheduling's SystemCriticalPriority. */
const CRITICAL_PRIORITY = 2_000_000_000;

/**
 * The steps of a shutdown, the lowest priority first; none: the node shuts down without waiting. Pure. Either the list by priority, or two
 * steps: all pods, then for the last `criticalMs` of the whole those of critical priority.
 */
export function computeShutdownPeriods(config: {
  graceMs: number;
  criticalMs: number;
  byPriority: readonly { priority: number; shutdownGracePeriodSeconds: number }[];
}): ShutdownPeriod[] {
  if (config.byPriority.length > 0)
    return config.byPriority
      .map(({ priority, shutdownGracePeriodSeconds }) => ({ priority, seconds: shutdownGracePeriodSeconds }))
      .sort((a, b) => a.priority - b.priority);
  if (config.graceMs === 0) return [];
  return [
    { priority: DEFAULT_PRIORITY, seconds: Math.trunc((config.graceMs - config.criticalMs) / 1000) },
    { priority: CRITICAL_PRIORITY, seconds: Math.trunc(config.criticalMs / 1000) },
  ];
}

/** The pods by the step in which they end; those below the lowest step's priority go with it. Pure. */
export function groupByPriority(periods: readonly ShutdownPeriod[], pods: readonly Pod[]): ShutdownGroup[] {
  const groups = periods.map((period): ShutdownGroup => ({ ...period, pods: [] }));
  for (const pod of pods) {
    const priority = pod.spec.priority ?? DEFAULT_PRIORITY;
    (groups.findLast((group) => group.priority <= priority) ?? groups[0])?.pods.push(pod);
  }
  return groups;
}

/** How long the whole shutdown may take. @returns milliseconds */
export function shutdownDelayMs(periods: readonly ShutdownPeriod[]): number {
  return periods.reduce((sum, { seconds }) => sum + seconds, 0) * 1000;
}
