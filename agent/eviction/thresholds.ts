import { parseGoDurationMs } from '../../src/config/duration.ts';
import { parseQuantity } from '../../src/kube/quantity.ts';
import { isSignal, SIGNALS, type Signal } from './signals.ts';

/** An amount (bytes, inodes, processes), or a share of the capacity between 0 and 1. */
export type ThresholdValue = { amount: number } | { fraction: number };

/** The signal is starved while less than `value` of it is available. */
export interface Threshold {
  readonly signal: Signal;
  readonly value: ThresholdValue;
  /** How long it must hold before a pod goes. 0: a hard threshold. */
  readonly gracePeriodMs: number;
  /** How far above the threshold it must get before it counts as over. */
  readonly minReclaim?: ThresholdValue;
}

/** The eviction fields of KubeletConfiguration that tell thresholds. */
export interface ThresholdSettings {
  evictionHard: Readonly<Record<string, string>>;
  evictionSoft: Readonly<Record<string, string>>;
  evictionSoftGracePeriod: Readonly<Record<string, string>>;
  evictionMinimumReclaim: Readonly<Record<string, string>>;
}

/** One value that cannot be taken: the field's path, the value, what is accepted. */
export type Problem = [field: string, value: string | undefined, accepted: string];

export function isHard({ gracePeriodMs }: Threshold): boolean {
  return gracePeriodMs === 0;
}

const ACCEPTED_VALUE = 'a quantity above 0 such as "100Mi", or a percentage such as "10%"';
const ACCEPTED_RECLAIM = 'a quantity such as "500Mi", or a percentage above 0 such as "5%"';

/** Upstream counts in single precision; whoever compares allocatable with a kubelet's finds the same bytes. */
function parsePercentage(text: string): number | undefined {
  if (!/^[+-]?(\d+\.?\d*|\.\d+)%$/.test(text)) return undefined;
  return Math.fround(Math.fround(Number(text.slice(0, -1))) / 100);
}

function parseAmount(text: string): number | undefined {
  try {
    return Number(parseQuantity(text).value);
  } catch {
    return undefined;
  }
}

/** A threshold as it is written. undefined: 0 % and 100 % say that the signal has none. */
export function parseThresholdValue(text: string): ThresholdValue | undefined | 'bad' {
  if (text === '0%' || text === '100%') return undefined;
  if (text.endsWith('%')) {
    const fraction = parsePercentage(text);
    return fraction === undefined || fraction < 0 || fraction > 1 ? 'bad' : { fraction };
  }
  const amount = parseAmount(text);
  return amount === undefined || amount <= 0 ? 'bad' : { amount };
}

function parseReclaim(text: string): ThresholdValue | 'bad' {
  if (text.endsWith('%')) {
    const fraction = parsePercentage(text);
    return fraction === undefined || fraction <= 0 ? 'bad' : { fraction };
  }
  const amount = parseAmount(text);
  return amount === undefined || amount < 0 ? 'bad' : { amount };
}

/** Everything in the settings that is no threshold, grace period or minimum; empty when all is well. */
export function thresholdProblems(settings: ThresholdSettings): Problem[] {
  const problems: Problem[] = [];
  for (const [field, entries] of Object.entries(settings) as [keyof ThresholdSettings, Record<string, string>][])
    for (const [signal, text] of Object.entries(entries)) {
      const path = `${field}.${signal}`;
      if (!isSignal(signal)) problems.push([path, text, `one of the signals ${SIGNALS.join(', ')}`]);
      else if (field === 'evictionSoftGracePeriod') {
        if ((parseGoDurationMs(text) ?? -1) < 0) problems.push([path, text, 'a duration such as "30s" or "1m30s"']);
      } else if (field === 'evictionMinimumReclaim') {
        if (parseReclaim(text) === 'bad') problems.push([path, text, ACCEPTED_RECLAIM]);
      } else if (parseThresholdValue(text) === 'bad') problems.push([path, text, ACCEPTED_VALUE]);
      if (field === 'evictionSoft' && !Object.hasOwn(settings.evictionSoftGracePeriod, signal))
        problems.push([
          `evictionSoftGracePeriod.${signal}`,
          undefined,
          'a duration for every signal that evictionSoft names',
        ]);
    }
  return problems;
}

/**
 * The thresholds that valid settings tell. Where the pods together are held to their share of the node (`enforcesPods`), the hard
 * threshold on the node's memory counts inside that share too.
 */
export function parseThresholds(settings: ThresholdSettings, enforcesPods: boolean): Threshold[] {
  const parse = (entries: Readonly<Record<string, string>>, graceOf: (signal: Signal) => number): Threshold[] =>
    Object.entries(entries).flatMap(([signal, text]) => {
      const value = parseThresholdValue(text);
      if (!isSignal(signal) || value === undefined || value === 'bad') return [];
      const reclaim = settings.evictionMinimumReclaim[signal];
      const minReclaim = reclaim === undefined ? 'bad' : parseReclaim(reclaim);
      return [{ signal, value, gracePeriodMs: graceOf(signal), ...(minReclaim !== 'bad' && { minReclaim }) }];
    });
  const hard = parse(settings.evictionHard, () => 0);
  const soft = parse(
    settings.evictionSoft,
    (signal) => parseGoDurationMs(settings.evictionSoftGracePeriod[signal] ?? '0s') ?? 0,
  );
  const thresholds = [...hard, ...soft];
  const ofNode = thresholds.find((one) => one.signal === 'memory.available' && isHard(one));
  if (enforcesPods && ofNode && !hard.some(({ signal }) => signal === 'allocatableMemory.available'))
    thresholds.push({ ...ofNode, signal: 'allocatableMemory.available' });
  return thresholds;
}

/** The value in units of the signal. */
export function amountOf(value: ThresholdValue, capacity: number): number {
  return 'amount' in value ? value.amount : Math.trunc(capacity * value.fraction);
}

/**
 * Writable layers lie where images lie, or, in nodes with one file system, where everything lies. So thresholds on `containerfs` are those
 * of that file system, whatever was configured for it (upstream's rule).
 */
export function withContainerFs(thresholds: readonly Threshold[], layout: 'shared' | 'imagefs'): Threshold[] {
  const source = layout === 'imagefs' ? 'imagefs' : 'nodefs';
  const others = thresholds.filter(({ signal }) => !signal.startsWith('containerfs.'));
  const copies = others
    .filter(({ signal }) => signal.startsWith(`${source}.`))
    .map((one) => ({ ...one, signal: one.signal.replace(source, 'containerfs') as Signal }));
  return [...others, ...copies];
}
