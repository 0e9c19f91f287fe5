import type { Cgroups } from '../../src/linux/cgroup/cgroups.ts';
import { type CgroupLimits, cpuShares } from '../../src/linux/cgroup/values.ts';
import { type CgroupDriver, slicePath } from './cgroup-names.ts';
import { amountsOf } from './requests.ts';

/** A cgroup of the operator's, for the system's or Kubernetes' daemons, that is limited to what is reserved for them. */
export interface ReservedCgroup {
  kind: 'system' | 'kube';
  /** As systemReservedCgroup or kubeReservedCgroup spells it. */
  name: string;
  /** Below the cgroup mounts. */
  path: string;
  limits: CgroupLimits;
}

export interface ReservedSettings {
  enforceNodeAllocatable: readonly string[];
  systemReserved: Readonly<Record<string, string>>;
  kubeReserved: Readonly<Record<string, string>>;
  systemReservedCgroup: string;
  kubeReservedCgroup: string;
  /** Feature gate MemoryQoS, on cgroup v2: what is reserved is also not reclaimed. */
  memoryQos: boolean;
}

/** What enforceNodeAllocatable asks for beside `pods`. Pure. */
export function computeReservedCgroups(driver: CgroupDriver, settings: ReservedSettings): ReservedCgroup[] {
  const { enforceNodeAllocatable: enforced, memoryQos } = settings;
  return (['system', 'kube'] as const).flatMap((kind) => {
    const whole = enforced.includes(`${kind}-reserved`);
    if (!whole && !enforced.includes(`${kind}-reserved-compressible`)) return [];
    const amounts = amountsOf(settings[`${kind}Reserved`]);
    const limits: CgroupLimits = {};
    if (amounts.cpu !== undefined) limits.cpuShares = cpuShares(amounts.cpu);
    if (whole && amounts.memory !== undefined) {
      limits.memoryBytes = amounts.memory;
      if (memoryQos) limits.memoryMinBytes = amounts.memory;
    }
    if (whole && amounts.pid !== undefined) limits.pids = amounts.pid;
    const name = settings[`${kind}ReservedCgroup`];
    return [{ kind, name, path: reservedPath(driver, name), limits }];
  });
}

/** With systemd a slice is known by its last name alone, whose dashes tell its parents. */
function reservedPath(driver: CgroupDriver, name: string): string {
  const last = name.split('/').filter(Boolean).at(-1) ?? '';
  if (driver === 'systemd' && last.endsWith('.slice')) return slicePath(last);
  return `/${name.split('/').filter(Boolean).join('/')}`;
}

/** Why a reserved cgroup cannot be limited; undefined when it can. Berth makes none: who is in it is the operator's business. */
export async function whyNotLimited(
  cgroups: Cgroups,
  { kind, name, path, limits }: ReservedCgroup,
): Promise<string | undefined> {
  const controllers = [
    'cpu',
    ...(limits.memoryBytes === undefined ? [] : ['memory']),
    ...(limits.pids === undefined ? [] : ['pids']),
  ];
  for (const controller of controllers)
    if ((await cgroups.read(path, controller, 'cgroup.procs')) === undefined)
      return `${kind}ReservedCgroup is ${JSON.stringify(name)}: there is no cgroup ${path} in the hierarchy of the controller ${controller}; make it and move the daemons there, or leave ${kind}-reserved out of enforceNodeAllocatable`;
  return undefined;
}
