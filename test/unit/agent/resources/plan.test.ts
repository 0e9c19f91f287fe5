import test from 'ava';
import { cgroupPath, dockerCgroupParent, podCgroup, uidOfCgroup } from '../../../../agent/resources/cgroup-names.ts';
import {
  computeKubepodsLimits,
  computePodLimits,
  computeQosLimits,
  type UnifiedSettings,
} from '../../../../agent/resources/cgroup-plan.ts';
import { computeContainerLimits, computeContainerResources } from '../../../../agent/resources/container-resources.ts';
import { binarySize, kernelPageSize } from '../../../../agent/resources/hugepages.ts';
import { computeOomScoreAdj } from '../../../../agent/resources/oom-score.ts';
import { podQosClass, type QosClass } from '../../../../agent/resources/qos.ts';
import { podLimits, podRequests } from '../../../../agent/resources/requests.ts';
import { computeReservedCgroups } from '../../../../agent/resources/reserved-cgroups.ts';
import { swapBytesOf } from '../../../../agent/resources/swap.ts';
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
  const pods = [burstable, burstable, podOf(), podOf({ containers: [c('a', '/1', '/1Gi')] })];
  t.deepEqual(computeQosLimits(pods, { hugepageSizesBytes: [] }), {
    kubepods: {},
    burstable: { cpuShares: 614 },
    besteffort: { cpuShares: 2 },
  });
  const unlimited = { '2MB': 'max' };
  t.like(computeQosLimits(pods, { hugepageSizesBytes: [2 << 20] }), {
    burstable: { hugepageBytes: unlimited },
    besteffort: { hugepageBytes: unlimited },
  });
  const available = {
    cpuMillis: 1500,
    memoryBytes: 1000,
    ephemeralStorageBytes: 0,
    pods: 110,
    pids: 99,
    hugepages: new Map([[2 << 20, 8 << 20]]),
  };
  t.deepEqual(computeKubepodsLimits(available), {
    cpuShares: 1536,
    memoryBytes: 1000,
    pids: 99,
    hugepageBytes: { '2MB': 8 << 20 },
  });
});
test('qosReserved: what the classes above request is left alone', (t) => {
  const pods = [
    podOf({ containers: [c('a', '/1', '/300Mi')] }),
    podOf({ containers: [c('a', '100m', '100Mi')] }),
    podOf({ containers: [c('a', '100m', '20Mi')] }),
    podOf(),
  ];
  const of = (memoryPercent: number, memoryBytes: number) => {
    const { burstable, besteffort } = computeQosLimits(pods, {
      hugepageSizesBytes: [],
      reserved: { memoryPercent, memoryBytes },
    });
    return [burstable.memoryBytes, besteffort.memoryBytes].map((bytes) => Number(bytes) / 2 ** 20);
  };
  t.deepEqual(of(50, 1000 * 2 ** 20), [850, 790]);
  t.deepEqual(of(100, 1000 * 2 ** 20), [700, 580]);
  t.deepEqual(of(0, 1000 * 2 ** 20), [1000, 1000]);
  t.deepEqual(of(100, 310 * 2 ** 20), [10, 0]);
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

const gibs = (count: number) => count * 2 ** 30;
const v2 = (more: Partial<UnifiedSettings> = {}): UnifiedSettings => ({
  swap: { behavior: 'NoSwap', totalBytes: gibs(2), memoryBytes: gibs(8) },
  singleProcessOomKill: false,
  ...more,
});
const limitedSwap = v2({ swap: { behavior: 'LimitedSwap', totalBytes: gibs(2), memoryBytes: gibs(8) } });
const memoryQos = { throttlingFactor: 0.9, reservation: 'TieredReservation' as const, allocatableBytes: gibs(8) };

test('pod level resources stand for those that a container lacks (KEP-2837)', (t) => {
  const pod = podOf({
    resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: '2', memory: '2Gi' } },
    containers: [c('bare'), c('own', '250m/500m', '/64Mi')],
  });
  t.deepEqual(computeContainerResources(pod, 'bare', settings), {
    CpuShares: 2048,
    CpuQuota: 200_000,
    CpuPeriod: 100_000,
    Memory: gibs(2),
    MemorySwap: gibs(2),
  });
  t.like(computeContainerResources(pod, 'own', settings), { CpuShares: 256, CpuQuota: 50_000, Memory: 64 << 20 });
  t.like(computePodLimits(pod, settings), { cpuShares: 1024, cpuQuotaUs: 200_000, memoryBytes: gibs(2) });
});

const swapCases: [string, Parameters<typeof podOf>[0], number][] = [
  ['an eighth of the memory, an eighth of the swap', { containers: [c('a', '', '1Gi/2Gi')] }, gibs(0.25)],
  ['without a limit', { containers: [c('a', '', '1Gi')] }, gibs(0.25)],
  ['limited to its request', { containers: [c('a', '', '1Gi/1Gi')] }, 0],
  ['no memory request', { containers: [c('a', '1')] }, 0],
  ['BestEffort', { containers: [c('a')] }, 0],
  ['Guaranteed', { containers: [c('a', '/1', '/1Gi')] }, 0],
  ['critical', { priority: 2_000_000_000, containers: [c('a', '', '1Gi')] }, 0],
];
for (const [title, spec, bytes] of swapCases)
  test(`LimitedSwap: ${title}`, (t) => {
    const pod = podOf(spec);
    const container = pod.spec.containers[0]!;
    t.is(swapBytesOf(pod, container, limitedSwap.swap), bytes);
    t.is(computeContainerLimits(pod, 'a', { ...settings, v2: limitedSwap }).swapBytes, bytes);
    t.is(computePodLimits(pod, { ...settings, v2: limitedSwap }).swapBytes, bytes);
    t.is(swapBytesOf(pod, container, v2().swap), 0);
    const { Memory, MemorySwap } = computeContainerResources(pod, 'a', { ...settings, v2: limitedSwap });
    if (Memory) t.is(MemorySwap, Memory + bytes);
  });

const gi = 2 ** 30;
const page = (bytes: number) => Math.floor(bytes / 4096) * 4096;
const qosCasesOfMemory: [string, Parameters<typeof podOf>[0], object, object][] = [
  [
    'Burstable: between request and limit',
    { containers: [c('a', '', '1Gi/2Gi')] },
    { memoryMinBytes: 0, memoryLowBytes: gi, memoryHighBytes: page(1.9 * gi) },
    { memoryMinBytes: 0, memoryLowBytes: gi },
  ],
  [
    'Burstable without a limit: up to what the node has',
    { containers: [c('a', '', '1Gi')] },
    { memoryLowBytes: gi, memoryHighBytes: page(7.3 * gi) },
    { memoryLowBytes: gi },
  ],
  [
    'BestEffort: throttled, not kept',
    { containers: [c('a')] },
    { memoryMinBytes: 0, memoryLowBytes: 0, memoryHighBytes: page(7.2 * gi) },
    { memoryMinBytes: 0, memoryLowBytes: 0 },
  ],
  [
    'Guaranteed: kept, not throttled',
    { containers: [c('a', '/1', '/1Gi')] },
    { memoryMinBytes: gi, memoryLowBytes: 0, memoryHighBytes: 'max' },
    { memoryMinBytes: gi, memoryLowBytes: 0 },
  ],
];
for (const [title, spec, ofContainer, ofPod] of qosCasesOfMemory)
  test(`MemoryQoS: ${title}`, (t) => {
    const withQos = { ...settings, v2: v2({ memoryQos }) };
    t.like(computeContainerLimits(podOf(spec), 'a', withQos), ofContainer);
    t.like(computePodLimits(podOf(spec), withQos), ofPod);
  });
test('MemoryQoS: classes keep what their pods keep; without it everything is taken back', (t) => {
  const pods = [podOf({ containers: [c('a', '/1', '/1Gi')] }), podOf({ containers: [c('a', '', '2Gi')] }), podOf()];
  const classes = (qos?: typeof memoryQos) =>
    computeQosLimits(pods, { hugepageSizesBytes: [], v2: qos ? { memoryQos: qos } : {} });
  t.like(classes(memoryQos), {
    kubepods: { memoryMinBytes: gi, memoryLowBytes: 2 * gi },
    burstable: { memoryMinBytes: 0, memoryLowBytes: 2 * gi },
  });
  t.deepEqual(classes().kubepods, { memoryMinBytes: 0, memoryLowBytes: 0 });
  t.deepEqual(computeContainerLimits(pods[0]!, 'a', { ...settings, v2: v2() }), { oomGroup: true, swapBytes: 0 });
  t.like(computePodLimits(pods[0]!, { ...settings, v2: v2() }), { memoryMinBytes: 0, memoryLowBytes: 0 });
});

test('limits that Docker has no words for: huge pages, on v2 the OOM group; on v1 else nothing', (t) => {
  const huge = (amount: string) => ({ limits: { 'hugepages-2Mi': amount } });
  const pod = podOf({
    resources: huge('8Mi'),
    containers: [{ name: 'own', resources: huge('4Mi') }, { name: 'bare' }],
    ephemeralContainers: [{ name: 'debug' }],
  } as Parameters<typeof podOf>[0]);
  const of = (name: string) => computeContainerLimits(pod, name, settings, [2 << 20, 1 << 30]);
  t.deepEqual(of('own'), { hugepageBytes: { '2MB': 4 << 20, '1GB': 0 } });
  t.deepEqual(of('bare'), { hugepageBytes: { '2MB': 8 << 20, '1GB': 0 } });
  t.deepEqual(computeContainerLimits(pod, 'own', settings), {});
  t.true(computeContainerLimits(pod, 'debug', { ...settings, v2: v2() }).oomGroup);
  t.false(computeContainerLimits(pod, 'own', { ...settings, v2: v2({ singleProcessOomKill: true }) }).oomGroup);
});

test('reserved cgroups: what is enforced of what is reserved, and where', (t) => {
  const given = {
    systemReserved: { cpu: '500m', memory: '1Gi', pid: '1000', 'ephemeral-storage': '1Gi' },
    kubeReserved: { cpu: '1' },
    systemReservedCgroup: '/system.slice',
    kubeReservedCgroup: 'runtime-kube.slice',
    memoryQos: false,
  };
  const of = (driver: 'cgroupfs' | 'systemd', names: string[], more: object = {}) =>
    computeReservedCgroups(driver, { ...given, ...more, enforceNodeAllocatable: names });
  t.deepEqual(of('cgroupfs', ['pods']), []);
  t.deepEqual(of('cgroupfs', ['pods', 'system-reserved', 'kube-reserved-compressible']), [
    {
      kind: 'system',
      name: '/system.slice',
      path: '/system.slice',
      limits: { cpuShares: 512, memoryBytes: gi, pids: 1000 },
    },
    { kind: 'kube', name: 'runtime-kube.slice', path: '/runtime-kube.slice', limits: { cpuShares: 1024 } },
  ]);
  t.is(of('systemd', ['kube-reserved'])[0]?.path, '/runtime.slice/runtime-kube.slice');
  t.deepEqual(of('systemd', ['system-reserved-compressible'])[0]?.limits, { cpuShares: 512 });
  t.is(of('systemd', ['system-reserved'], { memoryQos: true })[0]?.limits.memoryMinBytes, gi);
});
