import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { hasProgram } from '../../../src/linux/exec.ts';
import { isMountPoint } from '../../../src/linux/mounts.ts';
import { NO_ROOT } from './scene.ts';
import { NODE } from './storage-life.ts';
import { boundVolume, CLAIMED, createNode, podOf } from './storage-scene.ts';

const real = NO_ROOT ? test.serial.skip : test.serial;
if (NO_ROOT) test(`skipped: ${NO_ROOT}`, (t) => t.pass());

real('local and hostPath volumes behind claims; a node out of reach says so', async (t) => {
  const { base, ready, mounts, hostPathOf } = await createNode(t);
  const disk = join(base, 'disk');
  await mkdir(disk);
  const here = (values: string[]) => ({
    required: {
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values }] }],
    },
  });
  const withSource = (source: object) => boundVolume({ csi: undefined, ...source });
  const local = await ready(withSource({ local: { path: disk }, nodeAffinity: here([NODE]) }));
  const pod = podOf('u1', [CLAIMED], { securityContext: { fsGroup: 4321 } });
  const path = await hostPathOf(local, pod);
  await writeFile(join(path, 'hello'), '');
  t.deepEqual(await readdir(disk), ['hello']);
  t.is((await stat(disk)).gid, 4321);
  t.deepEqual(mounts(), ['pods/u1/volumes/kubernetes.io~local-volume/pv-1']);
  const size = /^kubelet_volume_stats_capacity_bytes\{namespace="default",persistentvolumeclaim="data"\} (\d+)$/m;
  t.true(Number(size.exec(await local.registry.metrics())?.[1]) > 0);
  t.true(await local.volumes.remove('u1', pod));
  t.false(isMountPoint(path));
  t.deepEqual(await readdir(disk), ['hello']);

  const elsewhere = await ready(withSource({ local: { path: disk }, nodeAffinity: here(['other']) }));
  await t.throwsAsync(hostPathOf(elsewhere, podOf('u2')), {
    message: /storage node affinity check failed for volume "pv-1" : no matching NodeSelectorTerms/,
  });
  const missing = await ready(withSource({ local: { path: `${disk}-x` }, nodeAffinity: here([NODE]) }));
  await t.throwsAsync(hostPathOf(missing, podOf('u2')), { message: /path ".*disk-x" does not exist/ });
  const hostPath = await ready(withSource({ hostPath: { path: disk } }));
  t.is(await hostPathOf(hostPath, podOf('u3')), disk);
  const cloud = await ready(withSource({ gcePersistentDisk: { pdName: 'x' } }));
  await t.throwsAsync(hostPathOf(cloud, podOf('u4')), {
    message: /of type gcePersistentDisk, which this node does not mount/,
  });
});

const nfs = NO_ROOT || hasProgram('mount.nfs') ? test.serial.skip : test.serial;
nfs('NFS without its program is refused by name, with the package that has it', async (t) => {
  const { ready, hostPathOf } = await createNode(t);
  const life = await ready(boundVolume({ csi: undefined, nfs: { server: '192.0.2.1', path: '/export' } }));
  const missing = {
    message: /NFS volumes need mount\.nfs, which this node does not have: install the package nfs-common/,
  };
  await t.throwsAsync(hostPathOf(life, podOf('u1')), missing);
  const inline = { name: 'data', nfs: { server: '192.0.2.1', path: '/export' } };
  await t.throwsAsync(hostPathOf(life, podOf('u2', [inline])), missing);
  t.true(await life.volumes.remove('u1', podOf('u1')));
});
