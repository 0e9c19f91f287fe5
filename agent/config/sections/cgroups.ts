import {
  boolean,
  type ConfigOf,
  choice,
  deferred,
  duration,
  fraction,
  integer,
  list,
  map,
  text,
  unsupported,
} from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';
import { isQuantity, parseQuantity } from '../../../src/kube/quantity.ts';
import { sysctlNamespace } from '../../resources/sysctls.ts';

const ENFORCEABLE: readonly string[] = [
  'none',
  'pods',
  'system-reserved',
  'kube-reserved',
  'system-reserved-compressible',
  'kube-reserved-compressible',
];
const RESERVABLE: readonly string[] = ['cpu', 'memory', 'ephemeral-storage', 'pid'];

/** Cgroups: reservations, limits, swap. */
export const cgroupsFields = {
  cgroupRoot: text(),
  cgroupsPerQOS: unsupported(boolean(true)),
  cgroupDriver: choice('cgroupfs', ['cgroupfs', 'systemd']),
  kubeletCgroups: text(),
  systemCgroups: text(),
  systemReserved: map(),
  kubeReserved: map(),
  systemReservedCgroup: text(),
  kubeReservedCgroup: text(),
  enforceNodeAllocatable: list({
    fallback: ['pods'],
    accepts: ENFORCEABLE.map((one) => JSON.stringify(one)).join(', '),
    valid: (item) => ENFORCEABLE.includes(item),
  }),
  qosReserved: map(),
  cpuCFSQuota: boolean(true),
  cpuCFSQuotaPeriod: duration(100),
  maxOpenFiles: integer(1_000_000, { zeroIsUnset: true }),
  oomScoreAdj: integer(-999, { min: -1000, max: 1000 }),
  // Unsaid it is true for a node, as upstream, and false for the all-in-one program, which is for machines with swap, too.
  failSwapOn: boolean<boolean | undefined>(undefined),
  memorySwap: { swapBehavior: choice('NoSwap', ['NoSwap', 'LimitedSwap']) },
  memoryThrottlingFactor: fraction(0.9),
  memoryReservationPolicy: choice('None', ['None', 'TieredReservation']),
  // Unsaid it is what the cgroup version can do: true on v1, false on v2.
  singleProcessOOMKill: boolean<boolean | undefined>(undefined),
  // Unsaid, cgroup v1 is taken with a warning (docs/adr/0022).
  failCgroupV1: boolean<boolean | undefined>(undefined),
  protectKernelDefaults: boolean(false),
  // Absent: notifications of the kernel are taken where it gives them.
  kernelMemcgNotification: boolean<boolean | undefined>(undefined),
  allowedUnsafeSysctls: list(),
  // Upstream's is false; pods that need more say so: seccompProfile { type: Unconfined } (CIS 4.2.14).
  seccompDefault: boolean(true),
  userNamespaces: { idsPerPod: deferred(integer(65536)) },
};

type CgroupsConfig = ConfigOf<typeof cgroupsFields> & { readonly featureGates: Readonly<Record<string, boolean>> };

export function validateCgroups(config: CgroupsConfig, refuse: Refuse): void {
  for (const pattern of config.allowedUnsafeSysctls)
    if (!sysctlNamespace(pattern))
      refuse(
        'allowedUnsafeSysctls',
        pattern,
        'sysctls of namespaces: kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.*',
      );
  for (const field of ['kubeletCgroups', 'systemCgroups'] as const)
    if (config[field] !== '' && !/^(\/[^/]+)+$/.test(config[field]))
      refuse(field, config[field], 'the path of a cgroup, such as "/system.slice/berth"');
  if (config.systemCgroups !== '' && config.cgroupRoot === '')
    refuse('systemCgroups', config.systemCgroups, 'with cgroupRoot, or not at all');
  validateReservations(config, refuse);
  if (config.cpuCFSQuotaPeriodMs < 1 || config.cpuCFSQuotaPeriodMs > 1000)
    refuse('cpuCFSQuotaPeriod', `${config.cpuCFSQuotaPeriodMs}ms`, 'a duration from "1ms" to "1s"');
  validateMemoryQos(config, refuse);
}

function validateReservations(config: CgroupsConfig, refuse: Refuse): void {
  for (const name of ['systemReserved', 'kubeReserved'] as const)
    for (const [resource, amount] of Object.entries(config[name])) {
      if (!RESERVABLE.includes(resource))
        refuse(`${name}.${resource}`, amount, `the resources ${RESERVABLE.join(', ')}`);
      else if (!isQuantity(amount) || parseQuantity(amount).nano < 0n)
        refuse(`${name}.${resource}`, amount, 'a quantity such as "500m" or "1Gi", not below 0');
    }
  const enforced = config.enforceNodeAllocatable;
  if (enforced.includes('none') && enforced.length > 1)
    refuse('enforceNodeAllocatable', enforced, '"none" only by itself');
  for (const name of ['system', 'kube'] as const) {
    const [whole, part] = [`${name}-reserved`, `${name}-reserved-compressible`];
    if (enforced.includes(whole) && enforced.includes(part))
      refuse('enforceNodeAllocatable', enforced, `one of "${whole}" and "${part}"`);
    if ((enforced.includes(whole) || enforced.includes(part)) && !config[`${name}ReservedCgroup`])
      refuse(
        'enforceNodeAllocatable',
        enforced,
        `"${enforced.includes(whole) ? whole : part}" only with ${name}ReservedCgroup, which names the cgroup to be limited`,
      );
  }
}

function validateMemoryQos(config: CgroupsConfig, refuse: Refuse): void {
  for (const [resource, amount] of Object.entries(config.qosReserved)) {
    if (resource !== 'memory') refuse(`qosReserved.${resource}`, amount, 'the resource memory');
    else if (reservedPercent(amount) === undefined)
      refuse('qosReserved.memory', amount, 'a percentage such as "50%", up to "100%"');
    else if (!config.featureGates['QOSReserved'])
      refuse('qosReserved', config.qosReserved, 'it only with the feature gate: featureGates: { QOSReserved: true }');
  }
  if (config.memoryThrottlingFactor <= 0 || config.memoryThrottlingFactor > 1)
    refuse('memoryThrottlingFactor', config.memoryThrottlingFactor, 'a number above 0 and up to 1');
  if (config.memoryReservationPolicy !== 'None' && !config.featureGates['MemoryQoS'])
    refuse(
      'memoryReservationPolicy',
      config.memoryReservationPolicy,
      '"None", or the feature gate with it: featureGates: { MemoryQoS: true }',
    );
}

/** `50%` → 50. */
export function reservedPercent(text: string): number | undefined {
  const percent = /^(\d{1,3})%$/.exec(text)?.[1];
  return percent !== undefined && Number(percent) <= 100 ? Number(percent) : undefined;
}
