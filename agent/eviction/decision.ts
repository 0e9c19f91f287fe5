import type { Observations } from './observations.ts';
import { conditionOf, isMemorySignal, type PressureCondition, type Signal } from './signals.ts';
import { amountOf, type Threshold } from './thresholds.ts';

/** What one look hands to the next. Times are monotonic milliseconds. */
export interface EvictionState {
  /** Since when each threshold that is met now has been met. */
  readonly metSinceMs: ReadonlyMap<Threshold, number>;
  /** Met for as long as their grace says, and not yet relieved by their minimum reclaim. */
  readonly unresolved: readonly Threshold[];
  /** When each condition was caused last. */
  readonly conditionSeenMs: ReadonlyMap<PressureCondition, number>;
}

export const CALM: EvictionState = { metSinceMs: new Map(), unresolved: [], conditionSeenMs: new Map() };

export interface EvictionDecision {
  state: EvictionState;
  conditions: ReadonlySet<PressureCondition>;
  /** What pods have to go for, most urgent first: memory before all else. */
  starved: Threshold[];
}

/** Whether less than the threshold is left; `relieved`: less than the threshold and its minimum reclaim together. */
export function isMet(threshold: Threshold, observations: Observations, relieved: boolean): boolean {
  const observed = observations.get(threshold.signal);
  if (!observed) return false;
  const { value, minReclaim } = threshold;
  const margin = relieved && minReclaim ? amountOf(minReclaim, observed.capacity) : 0;
  return observed.available < amountOf(value, observed.capacity) + margin;
}

/**
 * One look at the node: which conditions hold and what is starved. A threshold that has starved stays so until its minimum reclaim is
 * reached, and a condition stays for the transition period after it was caused last: neither flaps. Pure.
 */
export function computeEviction(
  before: EvictionState,
  thresholds: readonly Threshold[],
  observations: Observations,
  { nowMs, transitionPeriodMs }: { nowMs: number; transitionPeriodMs: number },
): EvictionDecision {
  const met = thresholds.filter(
    (one) => isMet(one, observations, false) || (before.unresolved.includes(one) && isMet(one, observations, true)),
  );
  const metSinceMs = new Map(met.map((one) => [one, before.metSinceMs.get(one) ?? nowMs]));
  const conditionSeenMs = new Map(before.conditionSeenMs);
  for (const { signal } of met) conditionSeenMs.set(conditionOf(signal), nowMs);
  const caused = new Set(met.map(({ signal }) => conditionOf(signal)));
  const conditions = new Set(
    [...conditionSeenMs]
      .filter(([condition, seenMs]) => caused.has(condition) || nowMs - seenMs < transitionPeriodMs)
      .map(([condition]) => condition),
  );
  const unresolved = met.filter((one) => nowMs - (metSinceMs.get(one) ?? nowMs) >= one.gracePeriodMs);
  const starved = unresolved.toSorted((a, b) => urgency(a.signal) - urgency(b.signal));
  return { state: { metSinceMs, unresolved, conditionSeenMs }, conditions, starved };
}

const urgency = (signal: Signal) => (isMemorySignal(signal) ? 0 : 1);
