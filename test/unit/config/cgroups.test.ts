import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { reservedPercent } from '../../../agent/config/sections/cgroups.ts';
import { ConfigError, loadConfig } from '../../../src/config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-cgroups-'));
test.after.always(() => rmSync(directory, { recursive: true }));

/** What is refused, without the place; empty when all is taken. */
function problemsOf(settings: object): readonly string[] {
  const file = join(directory, `${Math.random()}.yaml`);
  const config = { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', ...settings };
  writeFileSync(file, JSON.stringify(config));
  try {
    loadConfig(kubeletConfiguration, { file });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => problem.replace(/^.*?: field /, ''));
  }
}

const taken: [string, object][] = [
  ['reservations', { systemReserved: { cpu: '500m', memory: '1Gi', pid: '100', 'ephemeral-storage': '1Gi' } }],
  ['nothing enforced', { enforceNodeAllocatable: ['none'] }],
  ['an empty list', { enforceNodeAllocatable: [] }],
  ['reserved cgroups', { enforceNodeAllocatable: ['pods', 'system-reserved'], systemReservedCgroup: '/system.slice' }],
  ['only the CPU of them', { enforceNodeAllocatable: ['kube-reserved-compressible'], kubeReservedCgroup: '/kube' }],
  ['qosReserved', { qosReserved: { memory: '50%' }, featureGates: { QOSReserved: true } }],
  ['memory QoS', { memoryReservationPolicy: 'TieredReservation', featureGates: { MemoryQoS: true } }],
  ['swap', { memorySwap: { swapBehavior: 'LimitedSwap' }, failSwapOn: false }],
  ['the rest', { oomScoreAdj: -500, singleProcessOOMKill: true, failCgroupV1: false, cpuCFSQuotaPeriod: '10ms' }],
];
for (const [title, settings] of taken) test(`taken: ${title}`, (t) => t.deepEqual(problemsOf(settings), []));

const refused: [string, object, string][] = [
  [
    'a quantity that is none',
    { kubeReserved: { cpu: 'much' } },
    '"kubeReserved.cpu" is "much"; accepted: a quantity such as "500m" or "1Gi", not below 0',
  ],
  [
    'less than nothing',
    { systemReserved: { memory: '-1Gi' } },
    '"systemReserved.memory" is "-1Gi"; accepted: a quantity such as "500m" or "1Gi", not below 0',
  ],
  [
    'what cannot be reserved',
    { systemReserved: { 'hugepages-2Mi': '2Mi' } },
    '"systemReserved.hugepages-2Mi" is "2Mi"; accepted: the resources cpu, memory, ephemeral-storage, pid',
  ],
  [
    'an unknown enforcement',
    { enforceNodeAllocatable: ['pod'] },
    '"enforceNodeAllocatable" is ["pod"]; accepted: a list of "none", "pods", "system-reserved", "kube-reserved", "system-reserved-compressible", "kube-reserved-compressible"',
  ],
  [
    'none and more',
    { enforceNodeAllocatable: ['none', 'pods'] },
    '"enforceNodeAllocatable" is ["none","pods"]; accepted: "none" only by itself',
  ],
  [
    'no cgroup to enforce on',
    { enforceNodeAllocatable: ['kube-reserved'] },
    '"enforceNodeAllocatable" is ["kube-reserved"]; accepted: "kube-reserved" only with kubeReservedCgroup, which names the cgroup to be limited',
  ],
  [
    'both of one',
    {
      enforceNodeAllocatable: ['system-reserved', 'system-reserved-compressible'],
      systemReservedCgroup: '/system.slice',
    },
    '"enforceNodeAllocatable" is ["system-reserved","system-reserved-compressible"]; accepted: one of "system-reserved" and "system-reserved-compressible"',
  ],
  [
    'qosReserved of the CPU',
    { qosReserved: { cpu: '50%' }, featureGates: { QOSReserved: true } },
    '"qosReserved.cpu" is "50%"; accepted: the resource memory',
  ],
  [
    'more than all',
    { qosReserved: { memory: '150%' }, featureGates: { QOSReserved: true } },
    '"qosReserved.memory" is "150%"; accepted: a percentage such as "50%", up to "100%"',
  ],
  [
    'qosReserved without its gate',
    { qosReserved: { memory: '50%' } },
    '"qosReserved" is {"memory":"50%"}; accepted: it only with the feature gate: featureGates: { QOSReserved: true }',
  ],
  [
    'a factor above one',
    { memoryThrottlingFactor: 1.5 },
    '"memoryThrottlingFactor" is 1.5; accepted: a number above 0 and up to 1',
  ],
  [
    'a reservation policy without its gate',
    { memoryReservationPolicy: 'TieredReservation' },
    '"memoryReservationPolicy" is "TieredReservation"; accepted: "None", or the feature gate with it: featureGates: { MemoryQoS: true }',
  ],
  [
    'a period that the kernel cannot have',
    { cpuCFSQuotaPeriod: '2s' },
    '"cpuCFSQuotaPeriod" is "2000ms"; accepted: a duration from "1ms" to "1s"',
  ],
  [
    'an unknown swap behaviour',
    { memorySwap: { swapBehavior: 'UnlimitedSwap' } },
    '"memorySwap.swapBehavior" is "UnlimitedSwap"; accepted: "NoSwap", "LimitedSwap"',
  ],
];
for (const [title, settings, problem] of refused)
  test(`refused: ${title}`, (t) => t.deepEqual(problemsOf(settings), [problem]));

test('percentages', (t) => {
  t.deepEqual(['0%', '50%', '100%', '101%', '50', '5.5%', ''].map(reservedPercent), [
    0,
    50,
    100,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});
