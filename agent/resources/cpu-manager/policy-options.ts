import { parseGoBool } from '../../../src/config/go-bool.ts';

/** `cpuManagerPolicyOptions`, parsed. */
export interface CpuPolicyOptions {
  fullPhysicalCpusOnly: boolean;
  strictCpuReservation: boolean;
  distributeAcrossNuma: boolean;
  alignBySocket: boolean;
  distributeAcrossCores: boolean;
  alignByUncoreCache: boolean;
}

/** Upstream's names. */
const OPTIONS: Readonly<Record<string, keyof CpuPolicyOptions>> = {
  'full-pcpus-only': 'fullPhysicalCpusOnly',
  'strict-cpu-reservation': 'strictCpuReservation',
  'distribute-cpus-across-numa': 'distributeAcrossNuma',
  'align-by-socket': 'alignBySocket',
  'distribute-cpus-across-cores': 'distributeAcrossCores',
  'prefer-align-cpus-by-uncorecache': 'alignByUncoreCache',
};

/** Pairs that want opposite things. */
const EXCLUDING: readonly (readonly [string, string])[] = [
  ['full-pcpus-only', 'distribute-cpus-across-cores'],
  ['distribute-cpus-across-numa', 'distribute-cpus-across-cores'],
  ['prefer-align-cpus-by-uncorecache', 'distribute-cpus-across-cores'],
  ['prefer-align-cpus-by-uncorecache', 'distribute-cpus-across-numa'],
];

/**
 * Reads the options; `refuse` is told of each that is unknown, no truth value, or excluded by another.
 * @param refuse option, value, what is accepted
 */
export function parseCpuPolicyOptions(
  options: Readonly<Record<string, string>>,
  refuse: (option: string, value: string, accepted: string) => void = () => {},
): CpuPolicyOptions {
  const parsed: CpuPolicyOptions = {
    fullPhysicalCpusOnly: false,
    strictCpuReservation: false,
    distributeAcrossNuma: false,
    alignBySocket: false,
    distributeAcrossCores: false,
    alignByUncoreCache: false,
  };
  const isOn = (name: string) => parsed[OPTIONS[name]!];
  for (const [name, value] of Object.entries(options)) {
    const key = OPTIONS[name];
    const truth = parseGoBool(value);
    if (!key) refuse(name, value, `the options ${Object.keys(OPTIONS).join(', ')}`);
    else if (truth === undefined) refuse(name, value, '"true" or "false"');
    else parsed[key] = truth;
  }
  for (const [one, other] of EXCLUDING)
    if (isOn(one) && isOn(other)) refuse(one, options[one]!, `"false" beside ${other}: they cannot be used together`);
  return parsed;
}
