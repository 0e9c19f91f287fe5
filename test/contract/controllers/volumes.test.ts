import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { KubeClient } from '../../../src/kube/client.ts';
import { isNotFound } from '../../../src/kube/errors.ts';
import {
  csiDrivers,
  events,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  storageClasses,
  volumeAttachments,
} from '../../../src/kube/resources.ts';
import type { PersistentVolumeSpec, Pod } from '../../../src/kube/types.ts';
import { eventually } from '../../support/eventually.ts';
import { createKubectl, findKubectl } from '../../support/kubectl.ts';
import { startWorkloadCluster } from '../../support/workload-cluster.ts';

const namespace = 'default';
const volume = (name: string, spec: Partial<PersistentVolumeSpec> = {}) => ({
  metadata: { name },
  spec: {
    capacity: { storage: '1Gi' },
    accessModes: ['ReadWriteOnce' as const],
    hostPath: { path: `/tmp/${name}` },
    ...spec,
  },
});
const claim = (name: string, spec: object = {}) => ({
  metadata: { name, namespace },
  spec: {
    accessModes: ['ReadWriteOnce' as const],
    resources: { requests: { storage: '500Mi' } },
    storageClassName: '',
    ...spec,
  },
});
const podWith = (name: string, volumes: Pod['spec']['volumes']) => ({
  metadata: { name, namespace },
  spec: { containers: [{ name: 'c', image: 'i' }], volumes: volumes! },
});
const usingClaim = (name: string, claimName: string) =>
  podWith(name, [{ name: 'data', persistentVolumeClaim: { claimName } }]);
const onNode = (node: string) => ({
  nodeAffinity: {
    required: {
      nodeSelectorTerms: [
        { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In' as const, values: [node] }] },
      ],
    },
  },
});

function watcherOf(client: KubeClient) {
  const claimPhase = async (name: string) =>
    (await client.get(persistentVolumeClaims, { namespace, name })).status?.phase;
  const volumePhase = async (name: string) => (await client.get(persistentVolumes, { name })).status?.phase;
  const isGone = async (read: Promise<unknown>) =>
    read.then(
      () => false,
      (error) => isNotFound(error),
    );
  const said = async (name: string, reason: string) =>
    (await client.list(events, { namespace })).items.find(
      (event) => event.involvedObject.name === name && event.reason === reason,
    )?.message;
  return { claimPhase, volumePhase, isGone, said };
}

test.serial('hostPath volumes: bound to claims, seen by kubectl, protected while in use, reclaimed', async (t) => {
  const { client, server } = await startWorkloadCluster(t);
  const { claimPhase, volumePhase, isGone } = watcherOf(client);
  const directory = await mkdtemp('/tmp/berth-pv-');
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  await writeFile(join(directory, 'data'), 'x');

  await client.create(persistentVolumes, volume('keep'));
  await client.create(
    persistentVolumes,
    volume('drop', {
      capacity: { storage: '5Gi' },
      hostPath: { path: directory },
      persistentVolumeReclaimPolicy: 'Delete',
    }),
  );
  await eventually(
    'both are free',
    async () => (await volumePhase('keep')) === 'Available' && (await volumePhase('drop')) === 'Available',
  );
  await client.create(persistentVolumeClaims, claim('small'));
  await client.create(persistentVolumeClaims, claim('large', { resources: { requests: { storage: '2Gi' } } }));
  await eventually(
    'both are bound',
    async () => (await claimPhase('small')) === 'Bound' && (await claimPhase('large')) === 'Bound',
  );

  const found = await findKubectl();
  if ('program' in found) {
    const pair = await server.credentials('admin', ['system:masters']);
    const kubectl = await createKubectl(found.program, { ...server, pair });
    t.teardown(() => kubectl.dispose());
    const listed = await kubectl.ok(['get', 'pv,pvc']);
    t.log(listed);
    t.regex(
      listed,
      /NAME +CAPACITY +ACCESS MODES +RECLAIM POLICY +STATUS +CLAIM +STORAGECLASS +VOLUMEATTRIBUTESCLASS +REASON +AGE/,
    );
    t.regex(listed, /persistentvolume\/keep +1Gi +RWO +Retain +Bound +default\/small +<unset> +\d+s/);
    t.regex(listed, /persistentvolumeclaim\/large +Bound +drop +5Gi +RWO +<unset> +\d+s/);
    t.regex(await kubectl.ok(['describe', 'pvc', 'small']), /Finalizers: +\[kubernetes.io\/pvc-protection\]/);
    t.regex(await kubectl.ok(['describe', 'pv', 'keep']), /Finalizers: +\[kubernetes.io\/pv-protection\]/);
  }

  await client.create(pods, usingClaim('web', 'large'));
  await eventually(
    'the pod runs',
    async () => (await client.get(pods, { namespace, name: 'web' })).status?.phase === 'Running',
  );
  await client.delete(persistentVolumeClaims, { namespace, name: 'large' });
  await client.delete(persistentVolumes, { name: 'keep' });
  await client.create(pods, usingClaim('late', 'large'));
  await eventually('a pod that comes too late is told', async () =>
    (await client.get(pods, { namespace, name: 'late' })).status?.conditions?.some(
      ({ message }) => message === '0/1 nodes are available: persistentvolumeclaim "large" is being deleted.',
    ),
  );
  t.is(await claimPhase('large'), 'Bound', 'the claim stays while a pod uses it');
  t.is(await volumePhase('keep'), 'Bound', 'the volume stays while a claim has it');

  await client.delete(pods, { namespace, name: 'late' });
  await client.delete(pods, { namespace, name: 'web' });
  await eventually('the claim goes with its last pod', () =>
    isGone(client.get(persistentVolumeClaims, { namespace, name: 'large' })),
  );
  await eventually('Delete: volume and data go too', () => isGone(client.get(persistentVolumes, { name: 'drop' })));
  await t.throwsAsync(stat(directory), { code: 'ENOENT' });
  await client.delete(persistentVolumeClaims, { namespace, name: 'small' });
  await eventually('a volume deleted meanwhile goes when its claim is gone', () =>
    isGone(client.get(persistentVolumes, { name: 'keep' })),
  );
});

test.serial('Retain: a released volume keeps its data and is given to nobody', async (t) => {
  const { client } = await startWorkloadCluster(t);
  const { claimPhase, volumePhase, said } = watcherOf(client);
  await client.create(persistentVolumes, volume('v'));
  await client.create(persistentVolumeClaims, claim('first'));
  await eventually('bound', async () => (await claimPhase('first')) === 'Bound');
  await client.delete(persistentVolumeClaims, { namespace, name: 'first' });
  await eventually('released', async () => (await volumePhase('v')) === 'Released');
  await client.create(persistentVolumeClaims, claim('second'));
  await eventually(
    'the second one is told',
    async () =>
      (await said('second', 'FailedBinding')) ===
      'no persistent volumes available for this claim and no storage class is set',
  );
  t.is(await claimPhase('second'), 'Pending');
});

test.serial('WaitForFirstConsumer: a local volume is chosen together with the node', async (t) => {
  const { client } = await startWorkloadCluster(t);
  const { claimPhase, said } = watcherOf(client);
  await client.create(storageClasses, {
    metadata: { name: 'local' },
    provisioner: 'kubernetes.io/no-provisioner',
    volumeBindingMode: 'WaitForFirstConsumer',
  });
  const local = { storageClassName: 'local', hostPath: undefined as never, local: { path: '/mnt/disk' } };
  await client.create(persistentVolumes, volume('elsewhere', { ...local, ...onNode('n9') }));
  await client.create(persistentVolumeClaims, claim('data', { storageClassName: 'local' }));
  await eventually(
    'it waits',
    async () =>
      (await said('data', 'WaitForFirstConsumer')) === 'waiting for first consumer to be created before binding',
  );
  await client.create(pods, usingClaim('web', 'data'));
  await eventually('no node reaches the volume', async () =>
    (await client.get(pods, { namespace, name: 'web' })).status?.conditions?.some(
      ({ message }) =>
        message === "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.",
    ),
  );
  await client.patch(nodes, {
    name: 'n1',
    type: 'merge',
    patch: { metadata: { labels: { 'kubernetes.io/hostname': 'n1' } } },
  });
  await client.create(persistentVolumes, volume('here', { ...local, ...onNode('n1') }));
  await eventually(
    'pod and claim get theirs',
    async () => (await client.get(pods, { namespace, name: 'web' })).spec.nodeName === 'n1',
  );
  t.is(await claimPhase('data'), 'Bound');
  t.is((await client.get(persistentVolumeClaims, { namespace, name: 'data' })).spec.volumeName, 'here');
});

test.serial('generic ephemeral volumes: the claim comes with the pod and goes with it', async (t) => {
  const { client } = await startWorkloadCluster(t);
  const { isGone } = watcherOf(client);
  await client.create(persistentVolumes, volume('v'));
  const template = { spec: claim('x').spec };
  await client.create(pods, podWith('web', [{ name: 'scratch', ephemeral: { volumeClaimTemplate: template } }]));
  await eventually(
    'the pod runs',
    async () => (await client.get(pods, { namespace, name: 'web' })).status?.phase === 'Running',
  );
  const made = await client.get(persistentVolumeClaims, { namespace, name: 'web-scratch' });
  t.like(made.metadata.ownerReferences?.[0], { kind: 'Pod', name: 'web', controller: true });
  await client.delete(pods, { namespace, name: 'web' });
  await eventually('the claim is collected', () =>
    isGone(client.get(persistentVolumeClaims, { namespace, name: 'web-scratch' })),
  );
});

test.serial('a CSI driver that attaches gets VolumeAttachments, one that does not gets none', async (t) => {
  const { client } = await startWorkloadCluster(t);
  const { isGone } = watcherOf(client);
  await client.create(csiDrivers, { metadata: { name: 'plain.example' }, spec: { attachRequired: false } });
  for (const driver of ['plain.example', 'attach.example']) {
    const name = driver.split('.')[0]!;
    const csi = { driver, volumeHandle: `h-${name}` };
    await client.create(
      persistentVolumes,
      volume(name, { hostPath: undefined as never, csi, claimRef: { namespace, name } }),
    );
    await client.create(persistentVolumeClaims, claim(name, { volumeName: name }));
    await client.create(pods, usingClaim(name, name));
  }
  await eventually('both run', async () =>
    (await client.list(pods, { namespace })).items.every(({ status }) => status?.phase === 'Running'),
  );
  await eventually('one attachment', async () => (await client.list(volumeAttachments, {})).items.length > 0);
  const attachments = (await client.list(volumeAttachments, {})).items;
  t.deepEqual(
    attachments.map(({ spec }) => spec),
    [{ attacher: 'attach.example', nodeName: 'n1', source: { persistentVolumeName: 'attach' } }],
  );
  await client.delete(pods, { namespace, name: 'attach' });
  await eventually('detached with the pod', () =>
    isGone(client.get(volumeAttachments, { name: attachments[0]!.metadata.name })),
  );
});
