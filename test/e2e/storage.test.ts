/** Volumes that outlive pods, as a user of kubectl has them: claims on hostPath and local volumes, a CSI driver, ephemeral ones. */
import test, { type ExecutionContext } from 'ava';
import type { Event, KubeObject, PersistentVolumeClaim, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { startCsiDriver, type TestCsiDriver } from '../support/csi-driver.ts';
import { deployment, pod, script } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const canRun = !whyNoHost() && !('skip' in kubectl);
const DRIVER = 'test.csi.example';
/** The agent's, in a cluster of `berth up`. */
const ROOT = '/var/lib/berth/kubelet';

let cluster: ClusterHost;
let driver: TestCsiDriver;

test.before(async () => {
  if (!canRun) return;
  cluster = await createClusterHost('storage');
  await cluster.berthOk('up');
  await cluster.loadImages();
  const { host } = cluster;
  driver = await startCsiDriver(
    '/srv',
    ROOT,
    { nodeName: host.name },
    {
      path: host.path,
      spawn: (argv) => host.spawn(argv, { stdio: ['ignore', 'pipe', 'inherit'] }),
    },
  );
});
test.after.always(() => cluster?.close());

test.after('down --purge takes nothing from volumes that are mounted', async (t) => {
  if (!canRun) return;
  await cluster.apply(
    volume('last', { csi: { driver: DRIVER, volumeHandle: 'disk-2' } }),
    claim('last', { volumeName: 'last' }),
    writer('last', 'last'),
  );
  const { metadata } = await runningPod('last');
  await cluster.berthOk('down', '--purge');
  t.is(await cluster.sh(`cat /srv/driver-${DRIVER}/data/disk-2/log`), `${metadata.name}\n`);
  t.is(await mounts('kubernetes.io'), 0);
  t.is((await cluster.sh('ls /var/lib/berth 2>/dev/null || true')).trim(), '');
});

/** A story about volumes; all but the serial ones run at the same time. */
function story(
  title: string,
  tell: (t: ExecutionContext) => Promise<unknown>,
  run: typeof test | typeof test.serial = test,
): void {
  if (canRun) run(title, async (t) => void (await tell(t)));
  else test.skip(title, (t) => t.pass());
}

function volume(name: string, spec: object): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name },
    spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], ...spec },
  };
}

function claim(name: string, spec: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '500Mi' } },
      storageClassName: '',
      ...spec,
    },
  };
}

const usingClaim = (claimName: string) => [{ name: 'data', persistentVolumeClaim: { claimName } }];
const MOUNTED = { volumeMounts: [{ name: 'data', mountPath: '/data' }] };

/** A Deployment of one pod that appends its name to a file of the claim. */
function writer(name: string, claimName: string, spec: object = {}): object {
  const object = deployment(name, 1, {
    ...script('hostname >>/data/log; while :; do sleep 1; done'),
    ...MOUNTED,
  }) as { spec: { template: { spec: object } } };
  Object.assign(object.spec.template.spec, { volumes: usingClaim(claimName), ...spec });
  return object;
}

const runningPod = (app: string, except?: string) =>
  until(`a pod of ${app} runs`, async () =>
    (await cluster.list<Pod>('pods', '-l', `app=${app}`)).find(
      ({ metadata, status }) =>
        metadata.name !== except && !metadata.deletionTimestamp && status?.containerStatuses?.[0]?.state?.running,
    ),
  );
const phaseOf = async (kind: string, name: string) =>
  (await cluster.get<KubeObject & { status?: { phase?: string } }>(kind, name)).status?.phase;
const isGone = async (kind: string, name: string) => (await cluster.tryKubectl(['get', kind, name])).code !== 0;
const mounts = (what: string) => cluster.sh(`grep -c '${what}' /proc/self/mountinfo || true`).then(Number);

story(
  'hostPath behind a claim: data outlives pods; phases and columns as people know them; Retain keeps the data',
  async (t) => {
    await cluster.apply(
      volume('files', { hostPath: { path: '/srv/files' } }),
      claim('files', { volumeName: 'files' }),
      writer('files', 'files'),
    );
    const first = await runningPod('files');
    const shown = await cluster.kubectl('get', 'pv/files', 'pvc/files');
    t.log(shown);
    t.regex(shown, /persistentvolume\/files +1Gi +RWO +Retain +Bound +default\/files +<unset> +\d+s/);
    t.regex(shown, /persistentvolumeclaim\/files +Bound +files +1Gi +RWO +<unset> +\d+s/);
    t.regex(await cluster.kubectl('describe', 'pvc', 'files'), new RegExp(`Used By: +${first.metadata.name}`));
    await cluster.kubectl('delete', 'pod', first.metadata.name, '--wait=false');
    const second = await runningPod('files', first.metadata.name);
    t.is(await cluster.sh('cat /srv/files/log'), `${first.metadata.name}\n${second.metadata.name}\n`);

    await cluster.kubectl('delete', 'pvc', 'files', '--wait=false');
    t.regex(await cluster.kubectl('get', 'pvc', 'files'), /Terminating/);
    await cluster.kubectl('delete', 'deployment', 'files');
    await until('the claim goes with its last pod', () => isGone('pvc', 'files'));
    await until('Released', async () => (await phaseOf('pv', 'files')) === 'Released');
    t.is((await cluster.sh('wc -l </srv/files/log')).trim(), '2');
  },
);

story('a local volume waits for its first consumer, and a pod that is not root can write to it', async (t) => {
  await cluster.sh('mkdir -p /srv/disk');
  const nodeName = cluster.host.name;
  const here = {
    nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [nodeName] }] }],
  };
  await cluster.apply(
    {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: 'local' },
      provisioner: 'kubernetes.io/no-provisioner',
      volumeBindingMode: 'WaitForFirstConsumer',
    },
    volume('disk', { storageClassName: 'local', local: { path: '/srv/disk' }, nodeAffinity: { required: here } }),
    claim('disk', { storageClassName: 'local' }),
  );
  t.regex(
    await cluster.kubectl('get', 'sc'),
    /local +kubernetes.io\/no-provisioner +Delete +WaitForFirstConsumer +false/,
  );
  await until('it waits', async () => (await eventsOf('disk')).some(({ reason }) => reason === 'WaitForFirstConsumer'));
  t.is(await phaseOf('pvc', 'disk'), 'Pending');
  await cluster.apply(
    writer('disk', 'disk', { securityContext: { runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000 } }),
  );
  const { metadata } = await runningPod('disk');
  t.is(await cluster.sh('cat /srv/disk/log; stat -c %g /srv/disk'), `${metadata.name}\n2000\n`);
  t.is(await mounts('kubernetes.io~local-volume/disk'), 1);
  await cluster.kubectl('delete', 'deployment', 'disk');
  await until('nothing is mounted', async () => (await mounts('kubernetes.io~local-volume/disk')) === 0);
  t.is((await cluster.sh('wc -l </srv/disk/log')).trim(), '1');
});

story('pods that cannot have their claim are told why', async (t) => {
  await cluster.apply(
    pod('no-claim', script('sleep 1000'), { volumes: usingClaim('nowhere') }),
    claim('lonely', { storageClassName: 'no-such-class' }),
    pod('lonely', script('sleep 1000'), { volumes: usingClaim('lonely') }),
  );
  const message = async (name: string) =>
    (await cluster.get<Pod>('pod', name)).status?.conditions?.find(({ type }) => type === 'PodScheduled')?.message;
  await until(
    'no such claim',
    async () => (await message('no-claim')) === '0/1 nodes are available: persistentvolumeclaim "nowhere" not found.',
  );
  await until(
    'an unbound claim',
    async () =>
      (await message('lonely')) === '0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.',
  );
  await until('why it is unbound', async () =>
    (await eventsOf('lonely')).some(
      ({ message: text }) => text === 'storageclass.storage.k8s.io "no-such-class" not found',
    ),
  );
  // With a volume that fits the pod runs.
  await cluster.apply(volume('lonely', { storageClassName: 'no-such-class', hostPath: { path: '/srv/lonely' } }));
  await until('it runs', async () => (await phaseOf('pod', 'lonely')) === 'Running');
  t.is(await phaseOf('pvc', 'lonely'), 'Bound');
});

story('a generic ephemeral volume comes and goes with its pod', async (t) => {
  await cluster.apply(volume('scratch', { storageClassName: 'scratch', hostPath: { path: '/srv/scratch' } }));
  const template = { spec: (claim('x', { storageClassName: 'scratch' }) as PersistentVolumeClaim).spec };
  const volumes = [{ name: 'data', ephemeral: { volumeClaimTemplate: template } }];
  await cluster.apply(pod('scratch', { ...script('echo hi >/data/hi; sleep 1000'), ...MOUNTED }, { volumes }));
  await until('it runs', async () => (await phaseOf('pod', 'scratch')) === 'Running');
  t.is(await phaseOf('pvc', 'scratch-data'), 'Bound');
  await cluster.kubectl('delete', 'pod', 'scratch');
  await until('its claim is collected', () => isGone('pvc', 'scratch-data'));
});

story(
  'a CSI driver: seen in csinodes, mounted for pods, kept over a kill -9 of everything, unmounted in the end',
  async (t) => {
    await cluster.apply(
      {
        apiVersion: 'storage.k8s.io/v1',
        kind: 'CSIDriver',
        metadata: { name: DRIVER },
        spec: { attachRequired: false },
      },
      volume('csi', { csi: { driver: DRIVER, volumeHandle: 'disk-1' } }),
      claim('csi', { volumeName: 'csi' }),
      writer('csi', 'csi'),
    );
    const { metadata } = await runningPod('csi');
    t.regex(await cluster.kubectl('get', 'csinodes'), new RegExp(`^${cluster.host.name} +1 `, 'm'));
    t.regex(
      await cluster.kubectl('get', 'csidrivers'),
      /test\.csi\.example +false +false +false +<unset> +false +Persistent/,
    );
    t.is(await cluster.sh(`cat /srv/driver-${DRIVER}/data/disk-1/log`), `${metadata.name}\n`);
    t.is(await mounts('kubernetes.io~csi/csi/mount'), 1);

    await cluster.sh('kill -KILL $(cat /run/berth/berth.pid)');
    await cluster.berthOk('up');
    await until('the driver is known again', async () => (await cluster.kubectl('get', 'csinodes')).includes(' 1 '));
    const after = await runningPod('csi');
    t.is(after.metadata.name, metadata.name);
    t.is(after.status?.containerStatuses?.[0]?.restartCount, 0);
    t.is(await mounts('kubernetes.io~csi/csi/mount'), 1);
    t.is(await mounts('globalmount'), 1);

    await cluster.kubectl('delete', 'deployment', 'csi');
    await until(
      'nothing is mounted',
      async () => (await mounts('globalmount')) + (await mounts('kubernetes.io~csi')) === 0,
    );
    t.is((await driver.calls('NodeUnstageVolume')).length, 1);
  },
  test.serial,
);

async function eventsOf(name: string): Promise<Event[]> {
  return cluster.list<Event>('events', `--field-selector=involvedObject.name=${name}`);
}
