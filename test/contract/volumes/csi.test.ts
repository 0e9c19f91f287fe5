import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { csiNodes, nodes } from '../../../src/kube/resources.ts';
import type { KubeObject, Volume } from '../../../src/kube/types.ts';
import { eventually } from '../../support/eventually.ts';
import { NO_ROOT } from './scene.ts';
import { NODE } from './storage-life.ts';
import { boundVolume, CLAIMED, createNode, DRIVER, driverObject, HANDLE, meta, podOf } from './storage-scene.ts';

const real = NO_ROOT ? test.serial.skip : test.serial;
if (NO_ROOT) test(`skipped: ${NO_ROOT}`, (t) => t.pass());

const STAGED = /^plugins\/kubernetes\.io\/csi\/test\.csi\.example\/[0-9a-f]{64}\/globalmount$/;
const target = (uid: string) => `pods/${uid}/volumes/kubernetes.io~csi/pv-1/mount`;

real('a driver registers: it is told so, and CSINode and Node tell of it', async (t) => {
  const { driver, ready } = await createNode(t, { topology: { 'topology.example/rack': 'r1' } });
  const { client } = await ready([]);
  t.deepEqual(client.peek(csiNodes, NODE)?.spec.drivers, [
    {
      name: DRIVER,
      nodeID: `${DRIVER}-on-${NODE}`,
      topologyKeys: ['topology.example/rack'],
      allocatable: { count: 7 },
    },
  ]);
  t.is(client.peek(csiNodes, NODE)?.metadata.ownerReferences?.[0]?.kind, 'Node');
  const node = client.peek(nodes, NODE)!;
  t.is(
    node.metadata.annotations?.['csi.volume.kubernetes.io/nodeid'],
    JSON.stringify({ [DRIVER]: `${DRIVER}-on-${NODE}` }),
  );
  t.is(node.metadata.labels?.['topology.example/rack'], 'r1');
  await eventually('it is told', async () => (await driver.calls('NotifyRegistrationStatus')).length > 0);
  t.deepEqual((await driver.calls('NotifyRegistrationStatus'))[0]?.request, { pluginRegistered: true, error: '' });
  await driver.stop();
  await eventually('it is gone', () => client.peek(csiNodes, NODE)?.spec.drivers.length === 0);
  t.is(client.peek(nodes, NODE)!.metadata.annotations?.['csi.volume.kubernetes.io/nodeid'], undefined);
});

real('a driver of a version that nobody knows is told why it is not taken', async (t) => {
  const { driver, life } = await createNode(t, { versions: ['0.3.0'] });
  const { client } = life([]);
  await eventually('it is told', async () => (await driver.calls('NotifyRegistrationStatus')).length > 0);
  const { request } = (await driver.calls('NotifyRegistrationStatus'))[0]!;
  t.is(request.pluginRegistered, false);
  t.regex(String(request.error), /none of its versions \(0\.3\.0\) is a 1\.x/);
  t.is(client.peek(csiNodes, NODE)?.spec.drivers.length ?? 0, 0);
});

real('one staging for a node, one publishing for each pod; all is undone with the last', async (t) => {
  const { driver, ready, mounts, hostPathOf, rootDir } = await createNode(t);
  const life = await ready([...boundVolume(), driverObject()]);
  const [one, two] = [podOf('u1'), podOf('u2')];
  const path = await hostPathOf(life, one);
  await writeFile(join(path, 'hello'), 'from one');
  t.is(await readFile(join(await hostPathOf(life, two), 'hello'), 'utf8'), 'from one');
  t.is(await readFile(join(driver.data, HANDLE, 'hello'), 'utf8'), 'from one');
  const [staged, ...published] = mounts();
  t.regex(staged!, STAGED);
  t.deepEqual(published, [target('u1'), target('u2')]);
  t.deepEqual(
    JSON.parse(await readFile(join(rootDir, 'pods/u1/volumes/kubernetes.io~csi/pv-1/vol_data.json'), 'utf8')),
    {
      specVolID: 'pv-1',
      volumeHandle: HANDLE,
      driverName: DRIVER,
      nodeName: NODE,
      attachmentID: '',
      volumeLifecycleMode: 'Persistent',
    },
  );
  t.like((await driver.calls('NodePublishVolume'))[0]?.request, {
    volumeId: HANDLE,
    readonly: false,
    volumeContext: { colour: 'blue' },
    volumeCapability: { block: undefined, accessMode: { mode: 1 } },
  });
  t.true(await life.volumes.remove('u1', one));
  t.is((await driver.calls('NodeUnstageVolume')).length, 0, 'the other pod needs it');
  t.true(await life.volumes.remove('u2', two));
  t.deepEqual(mounts(), []);
  t.is((await driver.calls('NodeUnstageVolume')).length, 1);
  t.deepEqual(await readdir(join(rootDir, 'plugins/kubernetes.io/csi', DRIVER)), []);
  t.is(await readFile(join(driver.data, HANDLE, 'hello'), 'utf8'), 'from one', 'the data stays');
});

/** Runs a life in which the pod's volume is set up and taken down, and kills it, and the driver, in the middle of this call. */
async function killDuring(method: string, node: Awaited<ReturnType<typeof createNode>>, objects: KubeObject[]) {
  const { driver, rootDir } = node;
  await driver.hold(method);
  const argument = JSON.stringify({ rootDir, objects, pod: podOf('u1') });
  const child = fork(join(import.meta.dirname, 'storage-child.ts'), [argument]);
  await eventually(`it is in ${method}`, async () => (await driver.calls(method)).length > 0);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await driver.kill();
  await driver.release(method);
  await driver.start();
}

for (const method of ['NodeStageVolume', 'NodePublishVolume', 'NodeUnpublishVolume', 'NodeUnstageVolume']) {
  real(`killed in ${method}: the next life has the volume once, and then takes all of it down`, async (t) => {
    const node = await createNode(t);
    const objects = [...boundVolume(), driverObject()];
    await killDuring(method, node, objects);
    const life = await node.ready(objects);
    await node.hostPathOf(life, podOf('u1'));
    t.is(node.mounts().length, 2, 'one staged, one published');
    t.regex(node.mounts()[0]!, STAGED);
    t.is(node.mounts()[1], target('u1'));
    t.true(await life.volumes.remove('u1', podOf('u1')));
    t.deepEqual(node.mounts(), []);
    t.deepEqual(await readdir(join(node.rootDir, 'plugins/kubernetes.io/csi', DRIVER)), []);
  });

  real(`killed in ${method}, and the pod is gone meanwhile: nothing is left`, async (t) => {
    const node = await createNode(t);
    await killDuring(method, node, [...boundVolume(), driverObject()]);
    const life = await node.ready([]);
    t.deepEqual(await life.directories.list(), ['u1']);
    t.true(await life.volumes.remove('u1'));
    t.deepEqual(node.mounts(), []);
    t.deepEqual(await life.directories.list(), []);
    t.deepEqual(await readdir(join(node.rootDir, 'plugins/kubernetes.io/csi', DRIVER)), []);
  });
}

real('what is staged for no pod is unstaged when its driver comes back', async (t) => {
  const { driver, ready, mounts, hostPathOf, rootDir } = await createNode(t);
  const first = await ready([...boundVolume(), driverObject()]);
  await hostPathOf(first, podOf('u1'));
  await driver.fail('NodeUnstageVolume', 'busy');
  t.false(await first.volumes.remove('u1', podOf('u1')));
  t.regex(first.events.at(-1)!, /FailedUnMount.*rpc error: code = FailedPrecondition desc = busy/);
  await first.stop();
  // As a kill after the file's removal would leave it.
  await driver.fail('NodeUnstageVolume', undefined);
  await rm(join(rootDir, 'pods/u1'), { recursive: true });
  t.is(mounts().length, 1);
  await ready([]);
  await eventually('it is unstaged', () => mounts().length === 0);
});

real('a driver that is away keeps the volume, and by name; when it is back the volume goes', async (t) => {
  const { driver, ready, mounts, hostPathOf } = await createNode(t);
  const life = await ready([...boundVolume(), driverObject()]);
  await hostPathOf(life, podOf('u1'));
  await driver.stop();
  await eventually('it is deregistered', () => life.client.peek(csiNodes, NODE)?.spec.drivers.length === 0);
  t.false(await life.volumes.remove('u1', podOf('u1')));
  t.regex(life.events.at(-1)!, /driver name test\.csi\.example not found in the list of registered CSI drivers/);
  await t.throwsAsync(life.volumes.ensure(podOf('u2')), { message: /not found in the list of registered CSI drivers/ });
  await driver.start();
  await eventually('it can be removed', () => life.volumes.remove('u1', podOf('u1')));
  t.deepEqual(mounts(), []);
});

real('an inline volume lives and dies with its pod; the driver is told of the pod and gets its tokens', async (t) => {
  const { driver, ready, mounts, hostPathOf } = await createNode(t);
  const inline: Volume = {
    name: 'scratch',
    csi: { driver: DRIVER, volumeAttributes: { size: '1' }, nodePublishSecretRef: { name: 'key' } },
  };
  const secret = {
    kind: 'Secret',
    metadata: meta('key', { namespace: 'default' }),
    data: { password: Buffer.from('x').toString('base64') },
  };
  const pod = podOf('u1', [inline]);
  const bare = await ready([secret as KubeObject]);
  await t.throwsAsync(hostPathOf(bare, pod), {
    message: /volume mode "Ephemeral" not supported by driver test\.csi\.example \(no CSIDriver object\)/,
  });
  bare.seed(
    driverObject({ volumeLifecycleModes: ['Ephemeral'], podInfoOnMount: true, tokenRequests: [{ audience: 'vault' }] }),
  );
  await hostPathOf(bare, pod);
  const { request } = (await driver.calls('NodePublishVolume'))[0]!;
  t.regex(String(request.volumeId), /^csi-[0-9a-f]{64}$/);
  t.deepEqual(request.secrets, { password: 'x' });
  t.deepEqual(request.volumeContext, {
    size: '1',
    'csi.storage.k8s.io/pod.name': 'web-u1',
    'csi.storage.k8s.io/pod.namespace': 'default',
    'csi.storage.k8s.io/pod.uid': 'u1',
    'csi.storage.k8s.io/serviceAccount.name': 'default',
    'csi.storage.k8s.io/ephemeral': 'true',
    'csi.storage.k8s.io/serviceAccount.tokens': JSON.stringify({
      vault: { token: bare.token, expirationTimestamp: '2027-01-15T08:00:00Z' },
    }),
  });
  t.deepEqual(mounts(), ['pods/u1/volumes/kubernetes.io~csi/scratch/mount']);
  t.true(await bare.volumes.remove('u1', pod));
  t.deepEqual(mounts(), []);
  t.deepEqual(await readdir(driver.data), [], 'its data is gone');
});

real(
  'a driver that asks for it is called again and again; a refusal does not take the volume from the pod',
  async (t) => {
    const { driver, ready, hostPathOf } = await createNode(t, { capabilities: [] });
    const life = await ready([...boundVolume(), driverObject({ requiresRepublish: true })]);
    const pod = podOf('u1');
    const path = await hostPathOf(life, pod);
    await hostPathOf(life, pod);
    t.is((await driver.calls('NodePublishVolume')).length, 2);
    await driver.fail('NodePublishVolume', 'not now');
    t.is(await hostPathOf(life, pod), path);
  },
);

real('a volume that must be attached waits for its VolumeAttachment, by name, and is reported in use', async (t) => {
  const { driver, ready, hostPathOf } = await createNode(t);
  const life = await ready([...boundVolume(), driverObject({ attachRequired: true })]);
  const pod = podOf('u1');
  const setUp = hostPathOf(life, pod);
  await eventually('its file says which', async () => {
    const text = await readFile(
      join(life.directories.volume('u1', 'kubernetes.io/csi', 'pv-1'), 'vol_data.json'),
      'utf8',
    ).catch(() => '{}');
    return /^csi-[0-9a-f]{64}$/.test((JSON.parse(text) as { attachmentID?: string }).attachmentID ?? '');
  });
  const { attachmentID } = JSON.parse(
    await readFile(join(life.directories.volume('u1', 'kubernetes.io/csi', 'pv-1'), 'vol_data.json'), 'utf8'),
  ) as { attachmentID: string };
  t.deepEqual(life.storage.volumesInUse(), [`kubernetes.io/csi/${DRIVER}^${HANDLE}`]);
  life.seed({
    kind: 'VolumeAttachment',
    metadata: meta(attachmentID),
    spec: { attacher: DRIVER, nodeName: NODE, source: { persistentVolumeName: 'pv-1' } },
    status: { attached: true, attachmentMetadata: { device: '/dev/x' } },
  } as KubeObject);
  await setUp;
  t.deepEqual((await driver.calls('NodePublishVolume'))[0]?.request['publishContext'], { device: '/dev/x' });
  t.true(await life.volumes.remove('u1', pod));
  t.deepEqual(life.storage.volumesInUse(), []);
});

real('fsGroup: by the driver where it can, else by its policy', async (t) => {
  const { driver, ready, hostPathOf } = await createNode(t);
  const pod = podOf('u1', [CLAIMED], { securityContext: { fsGroup: 4321 } });
  await mkdir(join(driver.data, HANDLE), { recursive: true });
  const gid = async () => (await stat(join(driver.data, HANDLE))).gid;
  const none = await ready([...boundVolume(), driverObject()]);
  await hostPathOf(none, pod);
  t.is(await gid(), 0, 'no file system type: the default policy leaves it alone');
  t.true(await none.volumes.remove('u1', pod));
  const file = await ready([...boundVolume(), driverObject({ fsGroupPolicy: 'File' })]);
  await hostPathOf(file, pod);
  t.is(await gid(), 4321);
  t.true(await file.volumes.remove('u1', pod));
});

real('how full a volume is, as its driver tells', async (t) => {
  const { ready, hostPathOf } = await createNode(t, { capabilities: ['STAGE_UNSTAGE_VOLUME', 'GET_VOLUME_STATS'] });
  const life = await ready([...boundVolume(), driverObject()]);
  await hostPathOf(life, podOf('u1'));
  await hostPathOf(life, podOf('u2'));
  const shown = (await life.registry.metrics()).split('\n').filter((line) => line.startsWith('kubelet_volume'));
  const labels = '{namespace="default",persistentvolumeclaim="data"}';
  t.deepEqual(shown.sort(), [
    `kubelet_volume_stats_available_bytes${labels} 600`,
    `kubelet_volume_stats_capacity_bytes${labels} 1000`,
    `kubelet_volume_stats_health_status_abnormal${labels} 0`,
    `kubelet_volume_stats_inodes_free${labels} 7`,
    `kubelet_volume_stats_inodes_used${labels} 3`,
    `kubelet_volume_stats_inodes${labels} 10`,
    `kubelet_volume_stats_used_bytes${labels} 400`,
  ]);
});
