import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'ava';
import { createNodeAllocatable } from '../../../agent/resources/node-allocatable.ts';
import { createPodResources } from '../../../agent/resources/pod-resources.ts';
import { computeReservedCgroups, whyNotLimited } from '../../../agent/resources/reserved-cgroups.ts';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/eventually.ts';
import { podOf, resources } from '../../unit/agent/pod.ts';

const cgroupRoot = `/berth-test-pods-${process.pid}`;

test.after.always(async () => {
  await (await openCgroups()).remove(cgroupRoot);
});

test.serial('pods get cgroups of their class; orphans and all of it go', async (t) => {
  const cgroups = await openCgroups();
  const capacity = {
    cpuMillis: 2000,
    memoryBytes: 2 ** 30,
    ephemeralStorageBytes: 0,
    pods: 110,
    pids: 1000,
    hugepages: new Map(),
  };
  const pods = createPodResources(
    {
      driver: 'cgroupfs',
      cgroupRoot,
      capacity,
      unreserved: capacity,
      allocatable: capacity,
      enforcePods: true,
      canLowerOomScore: false,
      cpuCfsQuota: true,
      cpuCfsQuotaPeriodUs: 100_000,
      podPidsLimit: 77,
    },
    { cgroups },
  );
  const burstable = podOf({ containers: [{ name: 'a', resources: resources('500m', '/64Mi') }] }, { uid: 'b-1' });
  const bestEffort = podOf({}, { uid: 'e-1' });
  t.is(pods.cgroupParent(burstable), `${cgroupRoot}/kubepods/burstable/podb-1`);
  t.false(await pods.podExists(burstable));
  await Promise.all([pods.ensurePod(burstable), pods.ensurePod(bestEffort)]);
  await pods.ensurePod(burstable);
  t.true(await pods.podExists(burstable));
  t.true(await pods.podExists(bestEffort));
  t.is(await cgroups.read(`${cgroupRoot}/kubepods/besteffort/pode-1`, 'pids', 'pids.max'), '77');
  if (cgroups.version === 1) {
    t.is(await cgroups.read(`${cgroupRoot}/kubepods`, 'memory', 'memory.limit_in_bytes'), String(2 ** 30));
    t.is(await cgroups.read(`${cgroupRoot}/kubepods/burstable`, 'cpu', 'cpu.shares'), '512');
    t.is(
      await cgroups.read(`${cgroupRoot}/kubepods/burstable/podb-1`, 'memory', 'memory.limit_in_bytes'),
      String(64 << 20),
    );
  }
  t.is(pods.oomScoreAdj(bestEffort, 'POD'), 0);
  await pods.retain(new Set(['b-1']));
  t.false(await pods.podExists(bestEffort));
  t.true(await pods.podExists(burstable));
  await pods.removePod('b-1');
  t.false(await pods.podExists(burstable));
  if (cgroups.version === 1) t.is(await cgroups.read(`${cgroupRoot}/kubepods/burstable`, 'cpu', 'cpu.shares'), '2');
  await pods.removePod('never-seen');
  await pods.ensurePod(bestEffort);
  await pods.removeAll();
  t.deepEqual(await cgroups.children(cgroupRoot), []);
});

test.serial(
  'a running node: drift is corrected, lower classes leave what is reserved, huge pages and single containers',
  async (t) => {
    const cgroups = await openCgroups();
    const root = `${cgroupRoot}-node`;
    const isV1 = cgroups.version === 1;
    const mib = 2 ** 20;
    const capacity = {
      cpuMillis: 2000,
      memoryBytes: 1024 * mib,
      ephemeralStorageBytes: 0,
      pods: 110,
      pids: 1000,
      hugepages: new Map([[2 * mib, 0]]),
    };
    const node = createPodResources(
      {
        driver: 'cgroupfs',
        cgroupRoot: root,
        capacity,
        unreserved: { ...capacity, memoryBytes: 512 * mib, pids: 900 },
        allocatable: capacity,
        enforcePods: true,
        reservedMemoryPercent: 100,
        canLowerOomScore: false,
        cpuCfsQuota: true,
        cpuCfsQuotaPeriodUs: 50_000,
        podPidsLimit: -1,
      },
      { cgroups },
    );
    try {
      await node.ensureNode();
      const guaranteed = podOf(
        { containers: [{ name: 'a', resources: resources('/500m', '/128Mi') }] },
        { uid: 'g-1' },
      );
      const burstable = podOf({ containers: [{ name: 'a', resources: resources('250m', '64Mi') }] }, { uid: 'b-1' });
      for (const pod of [guaranteed, burstable]) await node.ensurePod(pod);
      const memory = (path: string) =>
        cgroups.read(`${root}/kubepods${path}`, 'memory', isV1 ? 'memory.limit_in_bytes' : 'memory.max');
      t.is(await memory(''), String(512 * mib));
      t.is(await memory('/burstable'), String((512 - 128) * mib));
      t.is(await memory('/besteffort'), String((512 - 128 - 64) * mib));
      t.is(await memory('/podg-1'), String(128 * mib));
      const quota = async () =>
        isV1
          ? await cgroups.read(`${root}/kubepods/podg-1`, 'cpu', 'cpu.cfs_quota_us')
          : (await cgroups.read(`${root}/kubepods/podg-1`, 'cpu', 'cpu.max'))?.split(' ')[0];
      t.is(await quota(), '25000');

      await cgroups.update(`${root}/kubepods`, { memoryBytes: 'max', pids: 'max' });
      await cgroups.update(`${root}/kubepods/burstable`, { cpuShares: 2 });
      await node.enforceNode();
      t.is(await memory(''), String(512 * mib));
      t.is(await cgroups.read(`${root}/kubepods`, 'pids', 'pids.max'), '900');
      const shares = await cgroups.read(`${root}/kubepods/burstable`, 'cpu', isV1 ? 'cpu.shares' : 'cpu.weight');
      t.is(shares, isV1 ? '256' : '10');

      t.false(await cgroups.update(`${root}/kubepods/podg-1/absent`, { memoryBytes: mib }));
      await t.notThrowsAsync(node.limitContainer(guaranteed, 'a', 'absent'));
      t.is(await node.memoryInUseBytes(guaranteed, 'absent'), undefined);
      t.is(typeof (await node.memoryInUseBytes(guaranteed)), 'number');
      if (cgroups.hierarchies.controllers.has('hugetlb')) {
        const file = isV1 ? 'hugetlb.2MB.limit_in_bytes' : 'hugetlb.2MB.max';
        t.is(await cgroups.read(`${root}/kubepods/podg-1`, 'hugetlb', file), '0');
      }
    } finally {
      await node.removeAll();
      await cgroups.remove(root);
    }
  },
);

test.serial('a limit below what is in use kills nobody, on either version', async (t) => {
  const cgroups = await openCgroups();
  const root = `${cgroupRoot}-used`;
  const mib = 2 ** 20;
  const capacity = { cpuMillis: 1000, memoryBytes: 256 * mib, ephemeralStorageBytes: 0, pods: 1, hugepages: new Map() };
  const options = (memoryBytes: number) => ({
    driver: 'cgroupfs' as const,
    cgroupRoot: root,
    capacity,
    unreserved: { ...capacity, memoryBytes },
    allocatable: capacity,
    enforcePods: true,
    canLowerOomScore: false,
    cpuCfsQuota: true,
    cpuCfsQuotaPeriodUs: 100_000,
    podPidsLimit: -1,
  });
  const node = createPodResources(options(256 * mib), { cgroups });
  try {
    const pod = podOf({}, { uid: 'e-1' });
    await node.ensurePod(pod);
    const procs = join(
      cgroups.hierarchies.controllers.get('memory')!,
      `${root}/kubepods/besteffort/pode-1/cgroup.procs`,
    );
    const child = spawn('/bin/sh', ['-c', `echo $$ >${procs}; { head -c 40m /dev/zero; sleep 60; } | tail -n 1`], {
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    await eventually('it uses its memory', async () => ((await node.memoryInUseBytes(pod)) ?? 0) > 30 * mib);
    const small = createPodResources(options(8 * mib), { cgroups });
    await small.ensureNode();
    await t.throwsAsync(small.enforceNode(), { message: /kubepods.*(EBUSY|in use)/ });
    t.is(child.exitCode, null);
    t.is(child.signalCode, null);
    await node.removePod('e-1');
    await ended;
    await small.enforceNode();
  } finally {
    await node.removeAll();
    await cgroups.remove(root);
  }
});

test.serial('what is reserved for others is their limit, in a cgroup that is there', async (t) => {
  const cgroups = await openCgroups();
  const path = `${cgroupRoot}-daemons`;
  const [reserved] = computeReservedCgroups('cgroupfs', {
    enforceNodeAllocatable: ['pods', 'kube-reserved'],
    systemReserved: {},
    kubeReserved: { cpu: '250m', memory: '64Mi', pid: '300' },
    systemReservedCgroup: '',
    kubeReservedCgroup: path,
    memoryQos: cgroups.version === 2,
  });
  t.regex((await whyNotLimited(cgroups, reserved!))!, /there is no cgroup/);
  await cgroups.ensure(path, {});
  try {
    t.is(await whyNotLimited(cgroups, reserved!), undefined);
    const events: string[] = [];
    const part = createNodeAllocatable([reserved!], {
      resources: { enforceNode: async () => {} },
      cgroups,
      event: (_type, reason) => events.push(reason),
      clock: systemClock,
      log: silentLogger,
    });
    await part.start();
    t.deepEqual(events, ['NodeAllocatableEnforced']);
    const isV1 = cgroups.version === 1;
    const read = (controller: string, v1: string, v2: string) => cgroups.read(path, controller, isV1 ? v1 : v2);
    t.is(await read('memory', 'memory.limit_in_bytes', 'memory.max'), String(64 * 2 ** 20));
    t.is(await read('cpu', 'cpu.shares', 'cpu.weight'), isV1 ? '256' : '10');
    t.is(await read('pids', 'pids.max', 'pids.max'), '300');
    if (!isV1) t.is(await cgroups.read(path, 'memory', 'memory.min'), String(64 * 2 ** 20));
  } finally {
    await cgroups.remove(path);
  }
});
