import { boolean, type ConfigOf, duration, integer, map } from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';
import { thresholdProblems } from '../../eviction/thresholds.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;

/** Thresholds that hold where evictionHard is absent (kubelet on Linux). */
const DEFAULT_EVICTION_HARD = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
};

/** A flag gives thresholds as `memory.available<1Gi,nodefs.available<10%`. */
function thresholds(fallback: Readonly<Record<string, string>> = {}) {
  const fromFlag = (text: string) =>
    Object.fromEntries(text.split(',').map((pair) => [pair.split('<')[0], pair.split('<').slice(1).join('<')]));
  return { ...map(fallback), fromFlag };
}

/** When pods are evicted. */
export const evictionFields = {
  evictionHard: thresholds(DEFAULT_EVICTION_HARD),
  evictionSoft: thresholds(),
  evictionSoftGracePeriod: map(),
  evictionPressureTransitionPeriod: duration(5 * MINUTE_MS),
  // Negative: the pod's own grace.
  evictionMaxPodGracePeriod: integer(0, { min: -1 }),
  evictionMinimumReclaim: map(),
  mergeDefaultEvictionSettings: boolean(false),
  localStorageCapacityIsolation: boolean(true),
};

type EvictionConfig = ConfigOf<typeof evictionFields>;

/** evictionHard as it counts: with the defaults of what it does not name, where they are to be merged. */
export function evictionHardOf(
  config: Pick<EvictionConfig, 'evictionHard' | 'mergeDefaultEvictionSettings'>,
): Readonly<Record<string, string>> {
  return config.mergeDefaultEvictionSettings
    ? { ...DEFAULT_EVICTION_HARD, ...config.evictionHard }
    : config.evictionHard;
}

export function validateEviction(config: EvictionConfig, refuse: Refuse): void {
  const { evictionHard, evictionSoft, evictionSoftGracePeriod, evictionMinimumReclaim } = config;
  const settings = { evictionHard, evictionSoft, evictionSoftGracePeriod, evictionMinimumReclaim };
  for (const [field, value, accepted] of thresholdProblems(settings)) refuse(field, value, accepted);
}
