import test from 'ava';
import { eventually } from '../../../support/eventually.ts';
import { observed, run } from '../status/cases.ts';
import { createNodeTree, POD_PATH } from './node-tree.ts';

const MIB = 1 << 20;

for (const version of [1, 2] as const) {
  test(`the summary of a node with cgroup v${version}`, async (t) => {
    const { statistics, clock, cgroup } = await createNodeTree(t, version);
    const stop = new AbortController();
    const running = statistics.run(stop.signal);
    await eventually('its disk is measured', () => statistics.podDisk('uid-1') !== undefined);
    await statistics.summary();
    await clock.advance(10_000);
    cgroup(`${POD_PATH}/app0`, {
      cpuMs: 8_900,
      memoryBytes: 29 * MIB,
      inactiveFileBytes: 10 * MIB,
      limitBytes: 64 * MIB,
    });
    const { node, pods } = await statistics.summary();
    stop.abort();
    await running;

    t.is(node.nodeName, 'n1');
    t.is(node.memory?.usageBytes, 600 * MIB);
    t.is(node.memory?.workingSetBytes, 500 * MIB);
    t.is(node.memory?.availableBytes, 524 * MIB, 'of all the memory of the machine');
    t.is(node.cpu?.usageCoreNanoSeconds, 60_000_000_000);
    t.is(node.cpu?.psi?.some.avg10, 1);
    t.is(node.io?.psi?.full.total, 500_000);
    t.deepEqual(node.swap, { time: node.cpu!.time, swapAvailableBytes: MIB, swapUsageBytes: MIB });
    t.like(node.rlimit, { maxpid: 20_000, curproc: 345 });
    t.like(node.network, { name: 'ens3', rxBytes: 1000, txBytes: 2000, rxErrors: 1, txErrors: 5 });
    t.deepEqual(
      node.network?.interfaces?.map(({ name }) => name),
      ['ens3'],
    );
    t.true(node.fs!.capacityBytes! > 0 && node.fs!.inodesFree! > 0);
    t.is(node.runtime?.imageFs?.usedBytes, 1234);
    t.deepEqual(
      node.systemContainers?.map(({ name }) => name),
      ['pods'],
    );
    t.is(node.systemContainers?.[0]?.memory?.availableBytes, 860 * MIB);

    const [pod] = pods;
    t.is(pods.length, 1);
    t.deepEqual(pod?.podRef, { name: 'web', namespace: 'default', uid: 'uid-1' });
    t.is(pod?.memory?.workingSetBytes, 20 * MIB);
    t.is(pod?.memory?.availableBytes, undefined, 'it has no limit of its own');
    t.is(pod?.process_stats?.process_count, 4);
    t.like(pod?.network, { name: 'eth0', rxBytes: 4242 });
    t.is(pod?.containers.length, 1);
    const [app] = pod!.containers;
    t.is(app?.name, 'app');
    t.is(app?.cpu?.usageNanoCores, 500_000_000, '5 s of CPU in 10 s');
    t.is(app?.memory?.availableBytes, (64 - 19) * MIB);
    t.like(app?.swap, { swapUsageBytes: 512, swapAvailableBytes: 0 });
    t.is(app?.cpu?.psi?.some.total, version === 2 ? 1_000_000 : undefined);
    t.true(app!.rootfs!.usedBytes! >= 9000);
    t.is(app?.rootfs?.inodesUsed, 2);
    t.true(app!.logs!.usedBytes! >= 10_000, 'rotated ones too');
    t.is(app?.logs?.inodesUsed, 2);
    const [scratch, claim] = pod!.volume!;
    t.is(scratch?.name, 'scratch');
    t.true(scratch!.usedBytes! >= 20_000);
    t.true(scratch!.capacityBytes! > 0);
    t.like(claim, {
      name: 'data',
      usedBytes: 400,
      capacityBytes: 1000,
      pvcRef: { name: 'claim-1', namespace: 'default' },
    });
    const parts = app!.rootfs!.usedBytes! + app!.logs!.usedBytes! + scratch!.usedBytes!;
    t.true(pod!['ephemeral-storage']!.usedBytes! >= parts + 6000, 'CVE-2020-8557: /etc/hosts counts');
  });

  test(`only CPU and memory, cgroup v${version}`, async (t) => {
    const { statistics } = await createNodeTree(t, version);
    const { node, pods } = await statistics.summary({ onlyCpuAndMemory: true });
    t.deepEqual(Object.keys(pods[0]!).sort(), ['containers', 'cpu', 'memory', 'podRef', 'startTime', 'swap']);
    t.deepEqual(Object.keys(node).sort(), ['cpu', 'memory', 'nodeName', 'startTime', 'swap', 'systemContainers']);
  });

  test(`a pod whose cgroup is gone is told without figures, and the others keep theirs, cgroup v${version}`, async (t) => {
    const { statistics, remove } = await createNodeTree(t, version);
    for (const controller of version === 1 ? ['memory', 'cpuacct', 'pids'] : ['.'])
      remove(`cgroup/${controller}${POD_PATH}`);
    const { node, pods } = await statistics.summary();
    t.deepEqual(Object.keys(pods[0]!).sort(), ['containers', 'podRef', 'startTime', 'volume']);
    t.deepEqual(Object.keys(pods[0]!.containers[0]!).sort(), ['name', 'startTime']);
    t.true(node.memory!.usageBytes! > 0);
  });
}

test('a container that was started since the last walk has its layer measured soon', async (t) => {
  const tree = await createNodeTree(t, 2);
  const { statistics, clock, pods, write, root } = tree;
  const stop = new AbortController();
  const running = statistics.run(stop.signal);
  const measured = (id: string) =>
    eventually(`the layer of ${id} is measured`, () => statistics.podDisk('uid-1')?.layers.has(id));
  await measured('app0');
  write('cgroup/kubepods/burstable/poduid-1/app1/cgroup.procs', '43\n');
  write('proc/43/mountinfo', `1 0 0:50 / / rw - overlay overlay rw,upperdir=${root}/docker/overlay2/layer/diff\n`);
  pods.runtime = () => observed([run('app', { id: 'app1' })]);
  await clock.advance(5000);
  await measured('app1');
  t.false(statistics.podDisk('uid-1')?.layers.has('app0'));
  stop.abort();
  await running;
});

test('who asks at about the same time gets the same pass; who wants a newer one gets that', async (t) => {
  const { statistics, cgroup, clock } = await createNodeTree(t, 2);
  const usage = async (maxAgeMs?: number) =>
    (await statistics.summary({ onlyCpuAndMemory: true, ...(maxAgeMs !== undefined && { maxAgeMs }) })).node.cpu
      ?.usageCoreNanoSeconds;
  const [one, other] = await Promise.all([usage(), usage()]);
  t.is(one, other);
  cgroup('/', { cpuMs: 70_000, memoryBytes: 1 });
  t.is(await usage(), 60_000_000_000);
  t.is(await usage(0), 70_000_000_000);
  cgroup('/', { cpuMs: 80_000, memoryBytes: 1 });
  await clock.advance(1500);
  t.is(await usage(), 80_000_000_000);
});

test('R13: a wall clock that jumps changes no rate', async (t) => {
  const { statistics, cgroup, clock } = await createNodeTree(t, 2);
  await statistics.summary();
  clock.step(-3 * 3600_000);
  await clock.advance(10_000);
  cgroup('/', { cpuMs: 61_000, memoryBytes: 1 });
  t.is((await statistics.summary()).node.cpu?.usageNanoCores, 100_000_000);
});
