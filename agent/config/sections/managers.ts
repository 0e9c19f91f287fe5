import { z } from 'zod';
import { type ConfigOf, choice, duration, map, objects, text } from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';
import { isQuantity, parseQuantity } from '../../../src/kube/quantity.ts';
import { type CpuSet, parseCpuList } from '../../../src/linux/cpu-list.ts';
import { parseCpuPolicyOptions } from '../../resources/cpu-manager/policy-options.ts';
import { parseTopologyPolicyOptions } from '../../resources/topology/policy-options.ts';
import type { cgroupsFields } from './cgroups.ts';

const SECOND_MS = 1000;

const reservation = z.strictObject({
  numaNode: z.int().min(0),
  limits: z.record(z.string(), z.union([z.string(), z.number().transform(String)])),
});

/** Exclusive CPUs, NUMA memory, topology. */
export const managersFields = {
  reservedSystemCPUs: text(),
  reservedMemory: { ...objects(reservation, 'NUMA nodes with numaNode and limits'), fromFlag: parseReservedMemoryFlag },
  cpuManagerPolicy: choice('none', ['none', 'static']),
  cpuManagerPolicyOptions: map(),
  cpuManagerReconcilePeriod: duration(10 * SECOND_MS),
  memoryManagerPolicy: choice('None', ['None', 'Static']),
  topologyManagerPolicy: choice('none', ['none', 'best-effort', 'restricted', 'single-numa-node']),
  topologyManagerScope: choice('container', ['container', 'pod']),
  topologyManagerPolicyOptions: map(),
};

/** `0:memory=1Gi,hugepages-2Mi=4Mi;1:memory=1Gi` as a file would hold it; what is nothing of the kind stays, to be refused. */
function parseReservedMemoryFlag(text: string): unknown {
  return text.split(';').map((part) => {
    const [, node, amounts] = /^(\d+):(.+)$/.exec(part) ?? [];
    if (node === undefined || amounts === undefined) return part;
    const limits = amounts.split(',').map((pair) => [pair.split('=')[0], pair.split('=').slice(1).join('=')]);
    return { numaNode: Number(node), limits: Object.fromEntries(limits) };
  });
}

type ManagersConfig = ConfigOf<typeof managersFields>;
type Reservations = Pick<
  ConfigOf<typeof cgroupsFields>,
  'kubeReserved' | 'systemReserved' | 'kubeReservedCgroup' | 'systemReservedCgroup'
>;

export function validateManagers(config: ManagersConfig & Reservations, refuse: Refuse): void {
  const { cpuManagerPolicyOptions, topologyManagerPolicyOptions } = config;
  const cpus = reservedCpus(config, refuse);
  if (config.cpuManagerPolicy !== 'static' && Object.keys(cpuManagerPolicyOptions).length > 0)
    refuse('cpuManagerPolicyOptions', cpuManagerPolicyOptions, 'options with cpuManagerPolicy "static" only');
  const options = parseCpuPolicyOptions(cpuManagerPolicyOptions, (option, value, accepted) =>
    refuse(`cpuManagerPolicyOptions.${option}`, value, accepted),
  );
  parseTopologyPolicyOptions(topologyManagerPolicyOptions, (option, value, accepted) =>
    refuse(`topologyManagerPolicyOptions.${option}`, value, accepted),
  );
  if (options.alignBySocket && config.topologyManagerPolicy === 'single-numa-node')
    refuse(
      'cpuManagerPolicyOptions.align-by-socket',
      cpuManagerPolicyOptions['align-by-socket'],
      '"false" beside topologyManagerPolicy "single-numa-node": a socket may have several NUMA nodes',
    );
  for (const name of ['kubeReservedCgroup', 'systemReservedCgroup'] as const)
    if (cpus.size > 0 && config[name])
      refuse('reservedSystemCPUs', config.reservedSystemCPUs, `"" beside ${name}: those CPUs are nobody's cgroup's`);
  validateReservedMemory(config, refuse);
}

function reservedCpus({ reservedSystemCPUs }: ManagersConfig, refuse: Refuse): CpuSet {
  try {
    return parseCpuList(reservedSystemCPUs);
  } catch (error) {
    refuse('reservedSystemCPUs', reservedSystemCPUs, `a list of CPUs such as "0,2-3" (${(error as Error).message})`);
    return new Set();
  }
}

function validateReservedMemory({ reservedMemory }: ManagersConfig, refuse: Refuse): void {
  const seen = new Set<string>();
  for (const [index, { numaNode, limits }] of reservedMemory.entries())
    for (const [type, quantity] of Object.entries(limits)) {
      const field = `reservedMemory.${index}.limits.${type}`;
      if (type !== 'memory' && !/^hugepages-\d+[KMG]i$/.test(type))
        refuse(field, quantity, 'the resources memory and hugepages-<size> only');
      else if (!isQuantity(quantity) || parseQuantity(quantity).value <= 0n)
        refuse(field, quantity, 'a quantity above zero such as "1Gi"');
      else if (seen.has(`${numaNode} ${type}`))
        refuse(field, quantity, `one value for NUMA node ${numaNode} and ${type}`);
      seen.add(`${numaNode} ${type}`);
    }
}

/**
 * kubeReserved and systemReserved as they count: CPUs that are reserved by name take the place of their amounts, as in the kubelet.
 * @throws Error when `reservedSystemCPUs` is no list; validation has seen to that
 */
export function withNamedCpus(
  config: Pick<ManagersConfig, 'reservedSystemCPUs'> & Pick<Reservations, 'kubeReserved' | 'systemReserved'>,
): {
  kubeReserved: Readonly<Record<string, string>>;
  systemReserved: Readonly<Record<string, string>>;
} {
  const { kubeReserved, systemReserved } = config;
  const named = parseCpuList(config.reservedSystemCPUs).size;
  if (named === 0) return { kubeReserved, systemReserved };
  const { cpu: _, ...kubeRest } = kubeReserved;
  return { kubeReserved: kubeRest, systemReserved: { ...systemReserved, cpu: String(named) } };
}
