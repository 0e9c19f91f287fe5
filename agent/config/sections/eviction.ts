import { boolean, deferred, duration, integer, map, unsupported } from '../../../src/config/field.ts';

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

/** When pods are evicted. */
export const evictionFields = {
  evictionHard: unsupported(map(DEFAULT_EVICTION_HARD)),
  evictionSoft: unsupported(map()),
  evictionSoftGracePeriod: unsupported(map()),
  evictionPressureTransitionPeriod: deferred(duration(5 * MINUTE_MS)),
  evictionMaxPodGracePeriod: unsupported(integer(0)),
  evictionMinimumReclaim: unsupported(map()),
  mergeDefaultEvictionSettings: deferred(boolean(false)),
  localStorageCapacityIsolation: deferred(boolean(true)),
};
