import test from 'ava';
import { cgroupPath, dockerCgroupParent, podCgroup, uidOfCgroup } from '../../../../agent/resources/cgroup-names.ts';
import { computeKubepodsLimits, computePodLimits, computeQosLimits } from '../../../../agent/resources/cgroup-plan.ts';
import { computeContainerResources } from '../../../../agent/resources/container-resources.ts';
import { binarySize, kernelPageSize } from '../../../../agent/resources/hugepages.ts';
import { computeOomScoreAdj } from '../../../../agent/resources/oom-score.ts';
import { podQosClass, type QosClass } from '../../../../agent/resources/qos.ts';
import { podLimits, podRequests } from '../../../../agent/resources/requests.ts';
import { podOf, resources } from '../pod.ts';

const settings = { cpuCfsQuota: true, cpuCfsQuotaPeriodUs: 100_000, podPidsLimit: -1 };
const c = (name: string, cpu = '', memory = '', extra = {}) => ({
  name,
  image: 'x',
  resources: resources(cpu, memory),
  ...extra,
});
const sidecar = { restartPolicy: 'Always' };

const qosCases: [string, Parameters<typeof podOf>[0], QosClass][] = [
  ['nothing asked for', { containers: [c('a')] }, 'BestEffort'],
  ['zero is nothing', { containers: [c('a', '0/0', '0')] }, 'BestEffort'],
  [
    'only ephemeral storage counts for nothing',
    { containers: [{ name: 'a', resources: { requests: { 'ephemeral-storage': '1Gi' } } }] },
    'BestEffort',
  ],
  ['requests = limits', { containers: [c('a', '1/1', '1Gi/1Gi')] }, 'Guaranteed'],
  ['equal by value', { containers: [c('a', '1000m/1', '1024Mi/1Gi')] }, 'Guaranteed'],
  ['limits only', { containers: [c('a', '/1', '/1Gi')] }, 'Guaranteed'],
  ['cpu only', { containers: [c('a', '1/1')] }, 'Burstable'],
  ['request below limit', { containers: [c('a', '1/2', '1Gi/1Gi')] }, 'Burstable'],
  ['one of two containers', { containers: [c('a', '1/1', '1Gi/1Gi'), c('b')] }, 'Burstable'],
  ['init container counts', { containers: [c('a', '1/1', '1Gi/1Gi')], initContainers: [c('i')] }, 'Burstable'],
  ['pod level decides alone', { containers: [c('a')], resources: resources('1/1', '1Gi/1Gi') }, 'Guaranteed'],
];
for (const [title, spec, qos] of qosCases) test(`QoS: ${title}`, (t) => t.is(podQosClass(podOf(spec)), qos));

test('requests: sum of containers, greediest init moment, sidecars, overhead', (t) => {
  const spec = {
    containers: [c('a', '100m', '10Mi'), c('b', '200m', '20Mi')],
    initContainers: [c('i1', '1', '5Mi'), c('s1', '50m', '1Mi', sidecar), c('i2', '400m', '100Mi')],
    overhead: { cpu: '10m', memory: '1Mi' },
  };
  t.deepEqual(podRequests(podOf(spec)), { cpu: 1010, memory: (101 + 1) * 1024 * 1024 });
  t.deepEqual(podRequests(podOf({ ...spec, resources: { requests: { cpu: '3' } } })).cpu, 3010);
  t.deepEqual(podRequests(podOf({ containers: [c('a', '/500m')] })), { cpu: 500 });
  t.deepEqual(podLimits(podOf({ containers: [c('a', '1/2'), c('b')] })), { cpu: 2000 });
});

test('pod cgroup: Guaranteed', (t) => {
  t.deepEqual(computePodLimits(podOf({ containers: [c('a', '/500m', '/64Mi')] }), settings), {
    cpuShares: 512,
    cpuQuotaUs: 50_000,
    cpuPeriodUs: 100_000,
    memoryBytes: 64 << 20,
  });
});
test('pod cgroup: Burstable is limited only when every container is', (t) => {
  const partly = podOf({ containers: [c('a', '100m/1', '/64Mi'), c('b', '100m/1')] });
  t.deepEqual(computePodLimits(partly, settings), { cpuShares: 204, cpuQuotaUs: 200_000, cpuPeriodUs: 100_000 });
});
test('pod cgroup: BestEffort, pids, huge pages, quota off', (t) => {
  t.deepEqual(computePodLimits(podOf(), { ...settings, podPidsLimit: 1024 }, [2 << 20, 1 << 30]), {
    cpuShares: 2,
    pids: 1024,
    hugepageBytes: { '2MB': 0, '1GB': 0 },
  });
  t.deepEqual(computePodLimits(podOf({ containers: [c('a', '1/1')] }), { ...settings, cpuCfsQuota: false }), {
    cpuShares: 1024,
  });
});
test('QoS and kubepods cgroups', (t) => {
  const burstable = podOf({ containers: [c('a', '300m')] });
  t.deepEqual(computeQosLimits([burstable, burstable, podOf(), podOf({ containers: [c('a', '/1', '/1Gi')] })]), {
    burstable: { cpuShares: 614 },
    besteffort: { cpuShares: 2 },
  });
  const available = {
    cpuMillis: 1500,
    memoryBytes: 1000,
    ephemeralStorageBytes: 0,
    pods: 110,
    pids: 99,
    hugepages: new Map(),
  };
  t.deepEqual(computeKubepodsLimits(available, true), { cpuShares: 1536, memoryBytes: 1000, pids: 99 });
  t.deepEqual(computeKubepodsLimits(available, false), { cpuShares: 1536 });
});

const uid = '0e1a-22b3';
for (const [driver, qos, path, parent] of [
  ['cgroupfs', 'Guaranteed', `/kubepods/pod${uid}`, `/kubepods/pod${uid}`],
  ['cgroupfs', 'Burstable', `/kubepods/burstable/pod${uid}`, `/kubepods/burstable/pod${uid}`],
  ['systemd', 'Guaranteed', '/kubepods.slice/kubepods-pod0e1a_22b3.slice', 'kubepods-pod0e1a_22b3.slice'],
  [
    'systemd',
    'BestEffort',
    '/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0e1a_22b3.slice',
    'kubepods-besteffort-pod0e1a_22b3.slice',
  ],
] as const)
  test(`names: ${driver} ${qos}`, (t) => {
    const name = podCgroup(qos, uid);
    t.is(cgroupPath(driver, name), path);
    t.is(dockerCgroupParent(driver, name), parent);
    t.is(uidOfCgroup(driver, path.split('/').at(-1)!), uid);
  });
test('names: other cgroups have no uid', (t) => {
  t.is(uidOfCgroup('cgroupfs', 'burstable'), undefined);
  t.is(uidOfCgroup('systemd', 'kubepods-burstable.slice'), undefined);
});
test('names of page sizes', (t) => {
  t.deepEqual([65536, 2 << 20, 1 << 30].map(binarySize), ['64Ki', '2Mi', '1Gi']);
  t.deepEqual([65536, 2 << 20, 1 << 30].map(kernelPageSize), ['64KB', '2MB', '1GB']);
});

const gib = 1024 ** 3;
const oomCases: [string, Parameters<typeof podOf>[0], string, number][] = [
  ['sandbox', {}, 'POD', -998],
  ['BestEffort', {}, 'app', 1000],
  ['Guaranteed', { containers: [c('app', '/1', '/1Gi')] }, 'app', -997],
  ['node critical', { priority: 2_000_001_000 }, 'app', -997],
  ['Burstable, a quarter', { containers: [c('app', '', '1Gi')] }, 'app', 750],
  ['Burstable, no memory request', { containers: [c('app', '1')] }, 'app', 999],
  ['Burstable, all of it', { containers: [c('app', '', '4Gi')] }, 'app', 3],
  [
    'sidecar is no worse than the best of the containers',
    { containers: [c('app', '', '1Gi')], initContainers: [c('s', '', '1Mi', sidecar)] },
    's',
    750,
  ],
  [
    'sidecar keeps its own when better',
    { containers: [c('app', '', '1Mi')], initContainers: [c('s', '', '2Gi', sidecar)] },
    's',
    500,
  ],
  [
    'the pod’s own request in equal parts',
    { resources: { requests: { memory: '2Gi' } }, containers: [{ name: 'a' }, { name: 'b' }] },
    'a',
    750,
  ],
  [
    'what the pod requests beyond its containers',
    {
      resources: { requests: { memory: '3Gi' } },
      containers: [{ name: 'a', resources: { requests: { memory: '1Gi' } } }],
      initContainers: [{ name: 'side', restartPolicy: 'Always' }],
    },
    'a',
    500,
  ],
];
for (const [title, spec, container, score] of oomCases)
  test(`oom_score_adj: ${title}`, (t) => t.is(computeOomScoreAdj(podOf(spec), container, 4 * gib), score));

test('HostConfig of a container', (t) => {
  const pod = podOf({ containers: [c('app', '250m/500m', '32Mi/64Mi'), c('free')], initContainers: [c('i', '/1')] });
  t.deepEqual(computeContainerResources(pod, 'app', settings), {
    CpuShares: 256,
    CpuQuota: 50_000,
    CpuPeriod: 100_000,
    Memory: 64 << 20,
    MemorySwap: 64 << 20,
  });
  t.deepEqual(computeContainerResources(pod, 'free', settings), { CpuShares: 2 });
  t.deepEqual(computeContainerResources(pod, 'i', settings), {
    CpuShares: 1024,
    CpuQuota: 100_000,
    CpuPeriod: 100_000,
  });
});
