/**
 * Hosts that join a real Kubernetes as kubeadm sets it up: one by `berth join`, one by `berth node --bootstrap-kubeconfig`. kube-controller-manager approves and signs their client
 * certificates, an operator approves the serving ones, and all of them live for two minutes only, so that rotation happens while pods go through everything that
 * makes a node ask the API server for something. The audit log then has nothing forbidden in it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { findKubeAssets } from '../../cli/kube-assets/assets.ts';
import { summarizeCertificate } from '../../src/auth/certificate.ts';
import { publicKeyHash } from '../../src/kube/cluster-info.ts';
import { renderKubeconfig } from '../../src/kube/kubeconfig.ts';
import type { CertificateSigningRequest } from '../../src/kube/schema/generated/types/certificates-v1.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { type KubeadmCluster, kubeadmCluster } from '../support/kubeadm-cluster.ts';
import { BUSYBOX, httpServer, pod, script, service } from '../support/manifests.ts';
import { createNodeHost, type NodeHost } from '../support/node-host.ts';
import { type AuditEvent, type RealKubernetes, startRealKubernetes } from '../support/real-kubernetes.ts';

const kubectl = await kubectlOrWhyNot();
const assets = findKubeAssets(process.env);
const skip =
  whyNoHost() ??
  ('skip' in kubectl ? kubectl.skip : 'skip' in assets ? assets.skip : undefined) ??
  (process.env['BERTH_TEST_FULL'] === '1' ? undefined : 'takes minutes: only with --full');

const BERTH = join(CHECKOUT, 'berth');
const ROOT = '/var/lib/berth-node';
/** On a disk of its own: an overlay's files seem to be on another device than their directories, so that volumes there cannot be measured. */
const STARTED_ROOT = '/var/lib/berth';
/** What is refused in good order: asked before it is made, made twice, gone meanwhile, or unknown to an old server. */
const EXPECTED = [
  /^get .*\/kube-node-lease\/leases\/\w+ 404/,
  /^get \/api\/v1\/nodes\/\w+ 404/,
  /^create \/api\/v1\/nodes 409/,
  /^get \/apis\/storage\.k8s\.io\/v1\/csinodes\/\w+ 404/,
  /^get \/apis\/discovery\.k8s\.io\/v1 404/,
  /^list \/api\/v1\/services\?limit=1&fieldSelector=spec\.clusterIP\S+ 400/,
  /^(get|patch|delete) \/api\/v1\/namespaces\/default\/pods\/\S+ 404/,
];
const OURS = /^system:(node|bootstrap):/;

let cluster: ClusterHost;
let kubernetes: RealKubernetes;
let kubeadm: KubeadmCluster;
let joined: NodeHost;
let started: NodeHost;
let approver: Promise<void> | undefined;
const stopApproving = new AbortController();

test.before(async () => {
  if (skip || !('folder' in assets)) return;
  cluster = await createClusterHost('plane');
  [kubernetes, joined, started] = await Promise.all([
    // Upstream backdates by five minutes, so these end in two: 70 % of seven are over at once, 90 % after 78 s.
    startRealKubernetes(cluster, assets.folder, { 'cluster-signing-duration': '7m' }),
    createNodeHost('joined', cluster.net),
    createNodeHost('started', cluster.net),
  ]);
  kubeadm = kubeadmCluster({
    server: kubernetes.url,
    caPem: kubernetes.caPem,
    minor: 20,
    podSubnet: '10.244.0.0/16',
    serviceSubnet: '10.96.0.0/12',
  });
  await cluster.apply(...kubeadm.objects);
  // kube-controller-manager signs cluster-info a moment after the token is there.
  await until('the token is signed with', async () =>
    (await cluster.kubectl('get', 'configmap', 'cluster-info', '-n', 'kube-public', '-o', 'yaml')).includes(
      `jws-kubeconfig-${kubeadm.token.slice(0, 6)}`,
    ),
  );
});
test.after.always(async () => {
  stopApproving.abort();
  await approver;
  await started?.close();
  await joined?.close();
  await cluster?.close();
});

function chapter(title: string, tell: (t: ExecutionContext) => Promise<unknown>): void {
  if (skip) test.serial.skip(`${title} (${skip})`, (t) => t.pass());
  else
    test.serial(title, async (t) => {
      try {
        await tell(t);
      } catch (error) {
        const logs = [
          kubernetes.logs(),
          (await joined.sh(`tail -n 30 ${ROOT}/log/node.log || true`)).stdout,
          (await started.log()).split('\n').slice(-30).join('\n'),
        ];
        throw new Error(`${(error as Error).message}\n${logs.join('\n')}`, { cause: error });
      }
    });
}

const requests = () => cluster.list<CertificateSigningRequest>('csr');
const nodeReady = (name: string) =>
  until(`node ${name} is Ready`, async () => isReady(await cluster.get<Node>('node', name)), 90_000);

chapter('berth join: discovery, the token, a client certificate that kube-controller-manager signs', async (t) => {
  const args = ['--server', kubernetes.url, '--token', kubeadm.token, '--ca-hash', publicKeyHash(kubernetes.caPem)];
  const { code, stdout } = await joined.sh(
    `${BERTH} join ${args.join(' ')} --node-ip ${joined.address} --node-name joined 2>&1`,
  );
  t.is(code, 0, stdout);
  t.regex(stdout, /does not allow its nodes what these need: .*examples\/rbac\/join\.yaml/);
  t.log(stdout);
  await nodeReady('joined');
  const own = (await requests()).filter(({ spec }) => spec.signerName?.endsWith('kube-apiserver-client-kubelet'));
  t.is(own.length, 1);
  t.regex(own[0]!.spec.username ?? '', /^system:bootstrap:/);
  t.regex(
    (await joined.sh(`stat -c '%a %U:%G' ${ROOT}/kubelet.yaml ${ROOT}/node.kubeconfig`)).stdout,
    /^(600 root:root\n)+$/,
  );
  t.is((await joined.sh(`stat -c %a ${ROOT}/pki/ca.crt`)).stdout, '644\n');
});

chapter('what such a node may not yet is allowed by one file', async (t) => {
  const refused = () => unexpected(kubernetes.audit(), 'joined');
  t.true((await until('the proxy was refused', async () => refused())).some((line) => / 403 /.test(line)));
  await cluster.kubectl('apply', '-f', join(CHECKOUT, 'examples/rbac/join.yaml'));
  approver = approveServing();
  t.pass();
});

chapter('berth node --bootstrap-kubeconfig: the same, by files', async (t) => {
  started.start(
    { bootstrap: renderKubeconfig({ server: kubernetes.url, caPem: kubernetes.caPem, token: kubeadm.token }) },
    'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\nserverTLSBootstrap: true\nvolumeStatsAggPeriod: 2s\n',
    ['--kubeconfig', '/etc/berth/node.kubeconfig', '--node-name', 'started', '--root-dir', STARTED_ROOT],
  );
  await nodeReady('started');
  const subject = async (node: NodeHost) =>
    summarizeCertificate(
      (
        await node.sh(
          `openssl s_client -connect ${node.address}:10250 </dev/null 2>/dev/null | openssl x509 -outform PEM`,
        )
      ).stdout,
    );
  for (const [name, node] of [
    ['joined', joined],
    ['started', started],
  ] as const) {
    await until(`${name} serves with what was approved`, async () => {
      const shown = await subject(node);
      return shown.commonName === `system:node:${name}` && shown.ipAddresses.includes(node.address);
    });
  }
  t.pass();
});

/** Everything from here on is in the audit log's account. */
let accountFrom = 0;

chapter(
  'pods’ whole life: volumes, claims, probes, hooks, exec, logs, eviction, a full disk, a crash, a drain',
  async (t) => {
    // The proxy's and the routes' back-off after the refusals of before.
    await until(
      'the proxy reads endpoints',
      async () =>
        kubernetes
          .audit()
          .some(
            ({ user, requestURI, responseStatus }) =>
              user.username === 'system:node:joined' && /\/endpoints/.test(requestURI) && responseStatus?.code === 200,
          ),
      60_000,
    );
    accountFrom = kubernetes.audit().length;
    await cluster.kubectl('create', 'secret', 'generic', 'keys', '--from-literal=password=s3cret');
    await cluster.kubectl('create', 'configmap', 'live', '--from-literal=key=first');
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'disk' },
      spec: {
        accessModes: ['ReadWriteOnce'],
        resources: { requests: { storage: '1Gi' } },
        storageClassName: '',
        volumeName: 'disk',
      },
    };
    const volume = {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'disk' },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        hostPath: { path: '/srv/disk', type: 'DirectoryOrCreate' },
      },
    };
    const everything = {
      ...httpServer(),
      envFrom: [{ secretRef: { name: 'keys' } }],
      env: [{ name: 'KEY', valueFrom: { configMapKeyRef: { name: 'live', key: 'key' } } }],
      readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 1 },
      lifecycle: { preStop: { exec: { command: ['true'] } } },
      volumeMounts: ['all', 'disk', 'scratch'].map((name) => ({ name, mountPath: `/mnt/${name}` })),
    };
    const sources = [
      { configMap: { name: 'live' } },
      { secret: { name: 'keys' } },
      { serviceAccountToken: { path: 'token', audience: 'vault', expirationSeconds: 600 } },
      { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
    ];
    const at = (name: string, nodeName: string) =>
      pod(
        name,
        everything,
        {
          nodeName,
          initContainers: [{ ...script('true'), name: 'init', image: BUSYBOX }],
          volumes: [
            { name: 'all', projected: { sources } },
            { name: 'disk', persistentVolumeClaim: { claimName: 'disk' } },
            { name: 'scratch', emptyDir: { sizeLimit: '1Mi' } },
          ],
        },
        { labels: { app: 'life' } },
      );
    await cluster.apply(
      volume,
      claim,
      service('life', { app: 'life' }),
      at('life-1', 'joined'),
      at('life-2', 'started'),
    );
    await cluster.apply(
      pod('crash', script('exit 3'), { nodeName: 'joined' }),
      pod('once', script('true'), { nodeName: 'started', restartPolicy: 'Never' }),
    );
    for (const name of ['life-1', 'life-2']) {
      await cluster.kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=90s');
      t.is((await cluster.kubectl('exec', name, '--', 'cat', '/mnt/all/name')).trim(), name);
      await cluster.kubectl('logs', name);
      t.is((await cluster.kubectl('exec', name, '--', 'sh', '-c', 'echo $password')).trim(), 's3cret');
    }
    await cluster.kubectl('patch', 'configmap', 'live', '--type=merge', '-p', '{"data":{"key":"changed"}}');
    await until('both nodes follow the change', async () => {
      const read = (name: string) => cluster.kubectl('exec', name, '--', 'cat', '/mnt/all/key');
      return (await read('life-1')) === 'changed' && (await read('life-2')) === 'changed';
    });
    await until(
      'crash restarts',
      async () => ((await cluster.get<Pod>('pod', 'crash')).status?.containerStatuses?.[0]?.restartCount ?? 0) > 0,
    );
    await until('once is done', async () => (await cluster.get<Pod>('pod', 'once')).status?.phase === 'Succeeded');
    // A volume beyond its limit ends the pod.
    await cluster.kubectl('exec', 'life-2', '--', 'dd', 'if=/dev/zero', 'of=/mnt/scratch/big', 'bs=1M', 'count=4');
    const evicted = await until(
      'life-2 is evicted',
      async () => {
        const { status } = await cluster.get<Pod>('pod', 'life-2');
        return status?.phase === 'Failed' ? status : undefined;
      },
      90_000,
    );
    t.is(evicted.reason, 'Evicted');
    writeFileSync(
      started.host.path('/etc/berth/manifests/still.yaml'),
      JSON.stringify(pod('still', script('echo standing; sleep 3600'))),
    );
    await until('the mirror pod is Ready', async () => isReady(await cluster.get<Pod>('pod', 'still-started')));
    await cluster.kubectl(
      'drain',
      'joined',
      '--ignore-daemonsets',
      '--force',
      '--delete-emptydir-data',
      '--timeout=90s',
    );
    await cluster.kubectl('uncordon', 'joined');
    await cluster.kubectl('delete', 'pod', '--all', '--timeout=90s', '--wait=false');
    await until('all are gone but the mirror', async () => (await cluster.list<Pod>('pods')).length <= 1, 60_000);
  },
);

chapter('certificates of two minutes are renewed, client and serving, and nobody notices', async (t) => {
  const serials = async (node: NodeHost, certDir: string) => {
    const serial = async (which: string) =>
      (await node.sh(`openssl x509 -noout -serial -in ${certDir}/kubelet-${which}-current.pem`)).stdout;
    return [await serial('client'), await serial('server')];
  };
  const before = [await serials(joined, `${ROOT}/pki`), await serials(started, `${STARTED_ROOT}/pki`)].flat();
  await until(
    'all four certificates are others',
    async () => {
      const now = [await serials(joined, `${ROOT}/pki`), await serials(started, `${STARTED_ROOT}/pki`)].flat();
      return now.every((serial, index) => serial !== before[index]);
    },
    150_000,
  );
  const own = (await requests()).filter(({ spec }) => spec.username === 'system:node:joined');
  t.true(own.filter(({ spec }) => spec.signerName?.endsWith('client-kubelet')).length >= 1);
  t.true(own.length < 20, `${own.length} requests of one node: not one after another`);
  // kube-apiserver checks the serving certificate: it is good, or this fails.
  await cluster.apply(pod('after', httpServer(), { nodeName: 'joined' }));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/after', '--timeout=60s');
  t.is((await cluster.kubectl('exec', 'after', '--', 'hostname')).trim(), 'after');
});

chapter('nothing of it was forbidden', async (t) => {
  const account = kubernetes.audit().slice(accountFrom);
  for (const name of ['joined', 'started']) {
    const ours = account.filter(({ user }) => user.username === `system:node:${name}`);
    t.true(ours.length > 50, `${ours.length} requests of ${name} in the audit log`);
    t.deepEqual(unexpected(account, name), []);
  }
  const refused = kubernetes
    .audit()
    .filter(({ user, responseStatus }) => user.username.startsWith('system:bootstrap:') && responseStatus?.code === 403)
    .map(describe)
    .filter((line) => !EXPECTED.some((one) => one.test(line)));
  t.deepEqual(refused, []);
  t.log(`${account.length} requests`);
});

/** What an operator, or a controller of theirs, does who trusts the hosts. */
async function approveServing(): Promise<void> {
  while (!stopApproving.signal.aborted) {
    const waiting = await requests().catch(() => []);
    for (const { metadata, spec, status } of waiting)
      if (spec.signerName === 'kubernetes.io/kubelet-serving' && !status?.conditions?.length)
        await cluster.tryKubectl(['certificate', 'approve', metadata.name ?? '']);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

const describe = ({ verb, requestURI, responseStatus, user }: AuditEvent) =>
  `${verb} ${requestURI} ${responseStatus?.code} ${user.username}`;

function unexpected(events: AuditEvent[], node: string): string[] {
  return events
    .filter(
      ({ user, responseStatus }) =>
        OURS.test(user.username) && user.username.endsWith(`:${node}`) && (responseStatus?.code ?? 0) >= 400,
    )
    .map(describe)
    .filter((line) => !EXPECTED.some((one) => one.test(line)));
}

function isReady({ status }: Pod | Node): boolean {
  return (
    (status?.conditions as { type: string; status: string }[] | undefined)?.some(
      (one) => one.type === 'Ready' && one.status === 'True',
    ) ?? false
  );
}
