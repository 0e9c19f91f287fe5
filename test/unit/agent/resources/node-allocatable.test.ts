import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { slicePath } from '../../../../agent/resources/cgroup-names.ts';
import { registerMemoryQosMetrics } from '../../../../agent/resources/memory-qos-metrics.ts';
import { createNodeAllocatable } from '../../../../agent/resources/node-allocatable.ts';
import { createPodResources, type PodResourcesOptions } from '../../../../agent/resources/pod-resources.ts';
import { type ReservedCgroup, whyNotLimited } from '../../../../agent/resources/reserved-cgroups.ts';
import { openCgroups } from '../../../../src/linux/cgroup/cgroups.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { podOf, resources } from '../pod.ts';

const reserved: ReservedCgroup = {
  kind: 'system',
  name: '/system.slice',
  path: '/system.slice',
  limits: { cpuShares: 512, memoryBytes: 4096 },
};

async function v2Tree(...folders: string[]): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'berth-allocatable-'));
  await writeFile(join(root, 'cgroup.controllers'), 'cpu memory pids\n');
  for (const folder of folders) {
    await mkdir(join(root, folder), { recursive: true });
    await writeFile(join(root, folder, 'cgroup.procs'), '');
  }
  return root;
}

function keeper(answers: (Error | undefined)[], cgroups: { update(): Promise<boolean> }, units: string[] = []) {
  const clock = createFakeClock();
  const events: string[] = [];
  const part = createNodeAllocatable([reserved], {
    resources: {
      async enforceNode() {
        const error = answers.shift();
        if (error) throw error;
      },
    },
    cgroups,
    slices: { ensure: async (slice) => void units.push(slice), stop: async () => {} },
    event: (type, reason, message) => events.push(`${type} ${reason} ${message}`),
    clock,
    log: silentLogger,
  });
  return { part, clock, events };
}

test('reserved cgroups are limited once; one that is gone keeps the node from starting', async (t) => {
  const units: string[] = [];
  const fine = keeper([], { update: async () => true }, units);
  await fine.part.start();
  t.deepEqual(units, ['system.slice']);
  t.deepEqual(fine.events, ['Normal NodeAllocatableEnforced Updated limits on system reserved cgroup /system.slice']);
  const gone = keeper([], { update: async () => false });
  const message = 'Failed to enforce System Reserved Cgroup Limits on "/system.slice": it is gone';
  await t.throwsAsync(gone.part.start(), { message });
  t.deepEqual(gone.events, [`Warning FailedNodeAllocatableEnforcement ${message}`]);
});

test('limits are written every minute; what does not hold is said each time, what holds again once', async (t) => {
  const { part, clock, events } = keeper([undefined, undefined, new Error('busy'), new Error('busy')], {
    update: async () => true,
  });
  const stop = new AbortController();
  const running = part.run(stop.signal);
  for (let minute = 0; minute < 5; minute++) await clock.advance(60_000);
  stop.abort();
  await running;
  const enforced = 'Normal NodeAllocatableEnforced Updated Node Allocatable limit across pods';
  const failed = 'Warning FailedNodeAllocatableEnforcement Failed to update Node Allocatable Limits ["kubepods"]: busy';
  t.deepEqual(events, [enforced, failed, failed, enforced]);
});

test('a reserved cgroup must be there, for every controller that limits it', async (t) => {
  const root = await v2Tree('system.slice');
  const cgroups = await openCgroups({ mountRoot: root });
  t.is(await whyNotLimited(cgroups, reserved), undefined);
  t.regex((await whyNotLimited(cgroups, { ...reserved, path: '/absent' }))!, /there is no cgroup \/absent/);
  await rm(root, { recursive: true });

  const v1 = await mkdtemp(join(tmpdir(), 'berth-allocatable-'));
  for (const controller of ['cpu', 'memory']) await mkdir(join(v1, controller), { recursive: true });
  await mkdir(join(v1, 'cpu/system.slice'));
  await writeFile(join(v1, 'cpu/system.slice/cgroup.procs'), '');
  const old = await openCgroups({ mountRoot: v1 });
  t.is(await whyNotLimited(old, { ...reserved, limits: { cpuShares: 2 } }), undefined);
  t.regex((await whyNotLimited(old, reserved))!, /in the hierarchy of the controller memory; make it/);
  await rm(v1, { recursive: true });
});

test('where systemd puts a slice', (t) => {
  t.is(slicePath('system.slice'), '/system.slice');
  t.is(slicePath('runtime-kube-x.slice'), '/runtime.slice/runtime-kube.slice/runtime-kube-x.slice');
});

const capacity = {
  cpuMillis: 2000,
  memoryBytes: 1000,
  ephemeralStorageBytes: 0,
  pods: 110,
  pids: 100,
  hugepages: new Map<number, number>(),
};
const options: PodResourcesOptions = {
  driver: 'cgroupfs',
  capacity,
  unreserved: { ...capacity, memoryBytes: 600, pids: 60 },
  allocatable: capacity,
  enforcePods: true,
  canLowerOomScore: true,
  cpuCfsQuota: true,
  cpuCfsQuotaPeriodUs: 100_000,
  podPidsLimit: -1,
  v2: { swap: { behavior: 'NoSwap', totalBytes: 0, memoryBytes: 1000 }, singleProcessOomKill: false },
};

test('pods are limited to what is not reserved, or to all there is; drift is corrected', async (t) => {
  const root = await v2Tree();
  const cgroups = await openCgroups({ mountRoot: root });
  const maxOf = () => readFile(join(root, 'kubepods/memory.max'), 'utf8');
  const node = createPodResources(options, { cgroups });
  await node.ensureNode();
  t.is(await maxOf(), '600');
  await writeFile(join(root, 'kubepods/memory.max'), 'max');
  await node.ensureNode();
  t.is(await maxOf(), 'max', 'nothing is written when nothing has changed');
  await node.enforceNode();
  t.is(await maxOf(), '600');
  await createPodResources({ ...options, enforcePods: false }, { cgroups }).ensureNode();
  t.is(await maxOf(), '1000');
  await rm(root, { recursive: true });
});

test('ends by the OOM killer are counted by pod; nowhere on v1 or when single processes end', async (t) => {
  const root = await v2Tree('kubepods/burstable/podb');
  const events = 'low 0\nhigh 0\nmax 9\noom 2\noom_kill 5\noom_group_kill 2\n';
  await writeFile(join(root, 'kubepods/burstable/podb/memory.events'), events);
  const cgroups = await openCgroups({ mountRoot: root });
  const node = createPodResources(options, { cgroups });
  t.is(await node.groupKills('b'), 2);
  t.is(await node.groupKills('nobody'), undefined);
  await writeFile(join(root, 'kubepods/burstable/podb/memory.events'), 'low 0\noom_kill 5\n');
  t.is(await node.groupKills('b'), undefined);
  const single = createPodResources({ ...options, v2: { ...options.v2!, singleProcessOomKill: true } }, { cgroups });
  t.is(await single.groupKills('b'), undefined);
  await rm(root, { recursive: true });
});

test('a pod that has more than it may is left alone; its class is not squeezed below its use', async (t) => {
  const root = await v2Tree('kubepods/burstable');
  await writeFile(join(root, 'kubepods/memory.current'), '700');
  await writeFile(join(root, 'kubepods/burstable/memory.current'), '500');
  const cgroups = await openCgroups({ mountRoot: root });
  const node = createPodResources({ ...options, reservedMemoryPercent: 100 }, { cgroups });
  const guaranteed = podOf({ containers: [{ name: 'a', resources: resources('/1', '/400') }] }, { uid: 'g' });
  await node.ensurePod(guaranteed);
  await t.throwsAsync(readFile(join(root, 'kubepods/memory.max'), 'utf8'), { code: 'ENOENT' });
  t.is(await readFile(join(root, 'kubepods/burstable/memory.max'), 'utf8'), '500');
  t.is(await readFile(join(root, 'kubepods/besteffort/memory.max'), 'utf8'), '200');
  await t.throwsAsync(node.enforceNode(), { message: /to 600 bytes of memory: 700 are in use/ });
  await rm(root, { recursive: true });
});

test('what pods keep is shown: kubelet_memory_qos_node_memory_{min,low}_bytes', async (t) => {
  const root = await v2Tree();
  const cgroups = await openCgroups({ mountRoot: root });
  const memoryQos = { throttlingFactor: 0.9, reservation: 'TieredReservation' as const, allocatableBytes: 1000 };
  const node = createPodResources({ ...options, v2: { ...options.v2!, memoryQos } }, { cgroups });
  const registry = new Registry();
  registerMemoryQosMetrics(registry, node.protectedMemory);
  await node.ensurePod(podOf({ containers: [{ name: 'a', resources: resources('/1', '/400') }] }, { uid: 'g' }));
  await node.ensurePod(podOf({ containers: [{ name: 'a', resources: resources('', '70/80') }] }, { uid: 'b' }));
  const text = await registry.metrics();
  t.regex(text, /^kubelet_memory_qos_node_memory_min_bytes 400$/m);
  t.regex(text, /^kubelet_memory_qos_node_memory_low_bytes 70$/m);
  t.is(await readFile(join(root, 'kubepods/memory.min'), 'utf8'), '400');
  await rm(root, { recursive: true });
});

test('systemd is told of slices and their limits, once; single containers are scopes', async (t) => {
  const root = await v2Tree();
  const cgroups = await openCgroups({ mountRoot: root });
  const told: string[] = [];
  const slices = {
    ensure: async (slice: string, limits: object) => void told.push(`${slice} ${Object.keys(limits).join(' ')}`),
    stop: async (slice: string) => void told.push(`stop ${slice}`),
  };
  const node = createPodResources({ ...options, driver: 'systemd' }, { cgroups, slices });
  await node.ensureNode();
  await node.enforceNode();
  t.deepEqual(told.splice(0), [
    'kubepods.slice cpuShares memoryBytes pids memoryMinBytes memoryLowBytes',
    'kubepods-burstable.slice cpuShares memoryMinBytes memoryLowBytes',
    'kubepods-besteffort.slice cpuShares',
  ]);
  const pod = podOf({ containers: [{ name: 'a', resources: resources('100m', '50/60') }] }, { uid: 'a-b' });
  await node.ensurePod(pod);
  t.deepEqual(told.splice(0), [
    'kubepods-burstable.slice cpuShares memoryMinBytes memoryLowBytes',
    'kubepods-burstable-poda_b.slice cpuShares memoryBytes memoryMinBytes memoryLowBytes swapBytes',
  ]);
  const folder = join(root, 'kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b.slice');
  t.is(await readFile(join(folder, 'memory.max'), 'utf8'), '60');
  await mkdir(join(folder, 'docker-0123.scope'));
  await writeFile(join(folder, 'docker-0123.scope/memory.oom.group'), '0');
  await node.limitContainer(pod, 'a', '0123');
  t.is(await readFile(join(folder, 'docker-0123.scope/memory.oom.group'), 'utf8'), '1');
  await writeFile(join(root, 'kubepods.slice/memory.max'), 'max');
  await node.enforceNode();
  t.is(await readFile(join(root, 'kubepods.slice/memory.max'), 'utf8'), '600');
  t.deepEqual(told, []);
  await rm(root, { recursive: true });
});
