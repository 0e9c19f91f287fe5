import { type CpuSet, formatCpuList } from '../../../src/linux/cpu-list.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import { assignCpus } from './assign-evenly.ts';
import type { CpuTopology } from './cpu-topology.ts';

/** @throws ExplainedError when the machine does not have all of the CPUs that `reservedSystemCPUs` names */
export function checkNamedCpus(named: CpuSet, all: CpuSet): void {
  const missing = named.difference(all);
  if (missing.size > 0)
    throw new ExplainedError(
      `reservedSystemCPUs names CPUs that this machine does not have online: ${formatCpuList(missing)} (it has ${formatCpuList(all)})`,
    );
}

/**
 * The CPUs that stay with the system: those that are named, else as many as the reservations amount to, from the first cores on.
 * @throws ExplainedError when nothing is reserved: shared containers would have no CPU left, or when a named one does not exist.
 */
export function computeReservedCpus(topology: CpuTopology, named: CpuSet, reservedMillis: number): CpuSet {
  checkNamedCpus(named, topology.all);
  if (named.size > 0) return named;
  if (reservedMillis <= 0)
    throw new ExplainedError(
      'cpuManagerPolicy "static" needs CPUs that stay with the system: set reservedSystemCPUs, or cpu in kubeReserved or systemReserved',
    );
  return assignCpus(topology, topology.all, Math.ceil(reservedMillis / 1000));
}
