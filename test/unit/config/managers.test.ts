import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { withNamedCpus } from '../../../agent/config/sections/managers.ts';
import { ConfigError, loadConfig } from '../../../src/config/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'berth-managers-'));
test.after.always(() => rmSync(directory, { recursive: true }));

function load(fields: object) {
  const file = join(directory, `${Math.random()}.json`);
  writeFileSync(
    file,
    JSON.stringify({ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', ...fields }),
  );
  return loadConfig(kubeletConfiguration, { file });
}

test('policies and options as the kubelet knows them', (t) => {
  const config = load({
    reservedSystemCPUs: '0,2-3',
    reservedMemory: [{ numaNode: 0, limits: { memory: '1Gi' } }],
    cpuManagerPolicy: 'static',
    cpuManagerPolicyOptions: { 'full-pcpus-only': 'true', 'strict-cpu-reservation': 'false' },
    cpuManagerReconcilePeriod: '5s',
    memoryManagerPolicy: 'Static',
    topologyManagerPolicy: 'restricted',
    topologyManagerScope: 'pod',
    topologyManagerPolicyOptions: { 'prefer-closest-numa-nodes': 'true', 'max-allowable-numa-nodes': '12' },
  });
  t.is(config.cpuManagerReconcilePeriodMs, 5000);
  t.deepEqual(config.reservedMemory, [{ numaNode: 0, limits: { memory: '1Gi' } }]);
});

const static_ = { cpuManagerPolicy: 'static' };
for (const [title, fields, says] of [
  [
    'CPUs that are no list',
    { reservedSystemCPUs: '0-' },
    /"reservedSystemCPUs" is "0-"; accepted: a list of CPUs such as "0,2-3"/,
  ],
  [
    'a policy nobody knows',
    { cpuManagerPolicy: 'dynamic' },
    /"cpuManagerPolicy" is "dynamic"; accepted: "none", "static"/,
  ],
  [
    'options without the policy',
    { cpuManagerPolicyOptions: { 'full-pcpus-only': 'true' } },
    /with cpuManagerPolicy "static" only/,
  ],
  [
    'an option nobody knows',
    { ...static_, cpuManagerPolicyOptions: { 'full-cpus': 'true' } },
    /"cpuManagerPolicyOptions\.full-cpus" is "true"; accepted: the options full-pcpus-only, strict-cpu-reservation/,
  ],
  [
    'an option that is neither on nor off',
    { ...static_, cpuManagerPolicyOptions: { 'full-pcpus-only': 'yes' } },
    /"cpuManagerPolicyOptions\.full-pcpus-only" is "yes"; accepted: "true" or "false"/,
  ],
  [
    'options that exclude each other',
    { ...static_, cpuManagerPolicyOptions: { 'full-pcpus-only': 'true', 'distribute-cpus-across-cores': 'true' } },
    /accepted: "false" beside distribute-cpus-across-cores: they cannot be used together/,
  ],
  [
    'a socket is no NUMA node',
    {
      ...static_,
      cpuManagerPolicyOptions: { 'align-by-socket': 'true' },
      topologyManagerPolicy: 'single-numa-node',
    },
    /align-by-socket" is "true"; accepted: "false" beside topologyManagerPolicy "single-numa-node"/,
  ],
  [
    'reservations that overlap',
    {
      reservedSystemCPUs: '0',
      systemReservedCgroup: '/system',
      enforceNodeAllocatable: ['pods', 'system-reserved'],
      systemReserved: { cpu: '1' },
    },
    /"reservedSystemCPUs" is "0"; accepted: "" beside systemReservedCgroup/,
  ],
  [
    'too few NUMA nodes to weigh',
    { topologyManagerPolicyOptions: { 'max-allowable-numa-nodes': '4' } },
    /"topologyManagerPolicyOptions\.max-allowable-numa-nodes" is "4"; accepted: an integer from 8 to 12/,
  ],
  [
    'a topology option nobody knows',
    { topologyManagerPolicyOptions: { closest: '1' } },
    /closest" is "1"; accepted: the options prefer/,
  ],
  [
    'memory reserved twice',
    {
      reservedMemory: [
        { numaNode: 0, limits: { memory: '1Gi' } },
        { numaNode: 0, limits: { memory: '2Gi' } },
      ],
    },
    /"reservedMemory\.1\.limits\.memory" is "2Gi"; accepted: one value for NUMA node 0 and memory/,
  ],
  ['no memory reserved', { reservedMemory: [{ numaNode: 0, limits: { memory: '0' } }] }, /a quantity above zero/],
  [
    'an amount that is none',
    { reservedMemory: [{ numaNode: 0, limits: { memory: 'much' } }] },
    /a quantity above zero/,
  ],
  [
    'what is no memory',
    { reservedMemory: [{ numaNode: 0, limits: { cpu: '1' } }] },
    /the resources memory and hugepages-<size> only/,
  ],
  [
    'a NUMA node that is no number',
    { reservedMemory: [{ numaNode: -1, limits: {} }] },
    /"reservedMemory".*a list of NUMA nodes/,
  ],
] as const)
  test(`refused: ${title}`, (t) => {
    const error = t.throws(() => load(fields), { instanceOf: ConfigError });
    t.regex(error!.message, says);
  });

test('CPUs reserved by name stand for the amounts', (t) => {
  const reserved = { kubeReserved: { cpu: '500m', memory: '1Gi' }, systemReserved: { cpu: '200m', pid: '100' } };
  t.deepEqual(withNamedCpus({ reservedSystemCPUs: '', ...reserved }), reserved);
  t.deepEqual(withNamedCpus({ reservedSystemCPUs: '0,4', ...reserved }), {
    kubeReserved: { memory: '1Gi' },
    systemReserved: { cpu: '2', pid: '100' },
  });
});

test('reserved memory as a flag', (t) => {
  const load = (value: string) =>
    loadConfig(kubeletConfiguration, { flags: [{ flag: '--reserved-memory', field: 'reservedMemory', value }] });
  t.deepEqual(load('0:memory=1Gi,hugepages-2Mi=4Mi;1:memory=2Gi').reservedMemory, [
    { numaNode: 0, limits: { memory: '1Gi', 'hugepages-2Mi': '4Mi' } },
    { numaNode: 1, limits: { memory: '2Gi' } },
  ]);
  for (const value of ['memory=1Gi', '0:', 'x:memory=1Gi', '0:memory'])
    t.throws(() => load(value), { message: /field "reservedMemory.* accepted: / }, value);
});
