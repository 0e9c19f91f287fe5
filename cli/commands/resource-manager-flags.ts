/** The kubelet's flags for its CPU, memory and topology managers, and the fields that they stand above. */
export const RESOURCE_MANAGER_FLAGS: [flag: string, field: string, text: string][] = [
  ['--reserved-cpus <list>', 'reservedSystemCPUs', 'CPUs that no container gets for itself: 0,2-3'],
  ['--cpu-manager-policy <name>', 'cpuManagerPolicy', 'none, or static: CPUs of their own for Guaranteed pods'],
  [
    '--cpu-manager-policy-options <name=bool>',
    'cpuManagerPolicyOptions',
    'such as full-pcpus-only=true, commas between',
  ],
  [
    '--cpu-manager-reconcile-period <duration>',
    'cpuManagerReconcilePeriod',
    'how often CPUs of containers are looked at',
  ],
  ['--memory-manager-policy <name>', 'memoryManagerPolicy', 'None, or Static: memory of NUMA nodes set aside'],
  [
    '--reserved-memory <node:memory=amount>',
    'reservedMemory',
    'memory of NUMA nodes that the system keeps: 0:memory=1Gi;1:memory=1Gi',
  ],
  [
    '--topology-manager-policy <name>',
    'topologyManagerPolicy',
    'none, best-effort, restricted, single-numa-node: CPUs, memory and devices near each other',
  ],
  ['--topology-manager-scope <name>', 'topologyManagerScope', 'container, or pod'],
  [
    '--topology-manager-policy-options <name=value>',
    'topologyManagerPolicyOptions',
    'such as prefer-closest-numa-nodes=true, commas between',
  ],
];
