import test from 'ava';
import { createPodResources } from '../../../agent/resources/pod-resources.ts';
import { openCgroups } from '../../../src/linux/cgroup/cgroups.ts';
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
