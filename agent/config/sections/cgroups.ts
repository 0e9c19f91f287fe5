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
import { isQuantity } from '../../../src/kube/quantity.ts';
import { sysctlNamespace } from '../../resources/sysctls.ts';

/** Cgroups: reservations, limits, swap. */
export const cgroupsFields = {
  cgroupRoot: text(),
  cgroupsPerQOS: unsupported(boolean(true)),
  cgroupDriver: choice('cgroupfs', ['cgroupfs', 'systemd']),
  kubeletCgroups: deferred(text()),
  systemCgroups: deferred(text()),
  systemReserved: map(),
  kubeReserved: map(),
  systemReservedCgroup: unsupported(text()),
  kubeReservedCgroup: unsupported(text()),
  enforceNodeAllocatable: unsupported(list({ fallback: ['pods'] })),
  qosReserved: unsupported(map()),
  cpuCFSQuota: boolean(true),
  cpuCFSQuotaPeriod: duration(100),
  maxOpenFiles: deferred(integer(1_000_000, { zeroIsUnset: true })),
  oomScoreAdj: deferred(integer(-999, { min: -1000, max: 1000 })),
  failSwapOn: deferred(boolean(true)),
  memorySwap: { swapBehavior: unsupported(choice('NoSwap', ['NoSwap', 'LimitedSwap'])) },
  memoryThrottlingFactor: deferred(fraction(0.9)),
  memoryReservationPolicy: unsupported(choice('None', ['None', 'TieredReservation', 'HardReservation'])),
  singleProcessOOMKill: deferred(boolean(false)),
  failCgroupV1: deferred(boolean(true)),
  protectKernelDefaults: unsupported(boolean(false)),
  kernelMemcgNotification: deferred(boolean(false)),
  allowedUnsafeSysctls: list(),
  seccompDefault: boolean(false),
  userNamespaces: { idsPerPod: deferred(integer(65536)) },
};

export function validateCgroups(config: ConfigOf<typeof cgroupsFields>, refuse: Refuse): void {
  for (const pattern of config.allowedUnsafeSysctls)
    if (!sysctlNamespace(pattern))
      refuse(
        'allowedUnsafeSysctls',
        pattern,
        'sysctls of namespaces: kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.*',
      );
  for (const name of ['systemReserved', 'kubeReserved'] as const)
    for (const [resource, amount] of Object.entries(config[name]))
      if (!isQuantity(amount)) refuse(`${name}.${resource}`, amount, 'a quantity such as "500m" or "1Gi"');
}
