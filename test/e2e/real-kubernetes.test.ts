/**
 * Two nodes of Berth under a real Kubernetes: kube-apiserver with RBAC, the Node authorizer and NodeRestriction, kube-controller-manager,
 * kube-scheduler and etcd on a host of their own, `berth node` on two more, each part with the identity that a real cluster gives it.
 *
 * The programs come from BERTH_KUBE_ASSETS (any version) or from the cache that `berth kube-assets` fills. Without either the stories are
 * skipped by name: building takes minutes, so a plain `berth test` never does; `berth test --full` does, beside the early rungs.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { findKubeAssets } from '../../cli/kube-assets/assets.ts';
import type { Event, Lease, Node, Pod, Secret } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { startCsiDriver } from '../support/csi-driver.ts';
import { pod, script, service } from '../support/manifests.ts';
import { createNodeHost, MANIFESTS, type NodeHost } from '../support/node-host.ts';
import { type AuditEvent, type RealKubernetes, startRealKubernetes } from '../support/real-kubernetes.ts';
import { OVERLAY_ACCOUNT, overlayByToken, tellOfOverlay } from '../support/real-overlay.ts';
import { tellOfExec, tellOfStreams } from '../support/real-streams-story.ts';

const kubectl = await kubectlOrWhyNot();
const assets = findKubeAssets(process.env);
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : 'skip' in assets ? assets.skip : undefined);

const EXAMPLES = join(CHECKOUT, 'examples');
/** What a node is refused in good order. */
const EXPECTED_REFUSALS = [
  // Asked before it is made; made before it is known to exist (as the kubelet does after each start).
  /^get .*\/kube-node-lease\/leases\/\w+ 404/,
  /^get \/api\/v1\/nodes\/\w+ 404/,
  /^get \/apis\/storage\.k8s\.io\/v1\/csinodes\/\w+ 404/,
  /^create \/api\/v1\/nodes 409/,
  /^get \/apis\/storage\.k8s\.io\/v1\/csinodes\/\w+ 404/,
  // How an older server tells what it lacks.
  /^get \/apis\/discovery\.k8s\.io\/v1 404/,
  /^list \/api\/v1\/services\?limit=1&fieldSelector=spec\.clusterIP\S+ 400/,
  // A pod that was removed at the same moment.
  /^(patch|delete) \/api\/v1\/namespaces\/default\/pods\/\S+ 404/,
];
const IDENTITIES = ['system:berth-overlay', 'system:kube-proxy', 'system:node:one', 'system:node:two'];
const OURS = /^system:node:|^system:kube-proxy$|^system:berth-overlay$|:berth-overlay$/;
let cluster: ClusterHost;
let kubernetes: RealKubernetes;
const nodes = new Map<string, NodeHost>();

test.before(async () => {
  if (skip || !('folder' in assets)) return;
  cluster = await createClusterHost('control-plane');
  const [, ...hosts] = await Promise.all([
    startRealKubernetes(cluster, assets.folder).then((started) => {
      kubernetes = started;
    }),
    createNodeHost('one', cluster.net),
    createNodeHost('two', cluster.net),
  ]);
  for (const host of hosts) nodes.set(host.host.name, host);
});
test.after.always(async (t) => {
  if (hasFailed && kubernetes) {
    t.log(kubernetes.logs());
    for (const node of nodes.values()) t.log((await node.log()).split('\n').slice(-25).join('\n'));
  }
  for (const node of nodes.values()) await node.close();
  await cluster?.close();
});

let hasFailed = false;

/** A chapter of the cluster's life; they build on each other. */
function chapter(title: string, tell: (t: ExecutionContext) => Promise<unknown> | unknown): void {
  if (skip) test.serial.skip(`${title} (${skip})`, (t) => t.pass());
  else
    test.serial(title, async (t) => {
      try {
        await tell(t);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    });
}

chapter('two nodes register, get pod networks and become Ready', async (t) => {
  await cluster.kubectl('apply', '-f', join(EXAMPLES, 'rbac/overlay.yaml'));
  // One node's overlay has a certificate of its own, the other's the token of the service account.
  const overlay = {
    one: await kubernetes.kubeconfig('system:berth-overlay'),
    two: await overlayByToken(cluster, kubernetes),
  };
  for (const [name, node] of nodes)
    node.start(
      {
        node: await kubernetes.nodeKubeconfig(name, node.address),
        proxy: await kubernetes.kubeconfig('system:kube-proxy'),
        overlay: overlay[name as 'one' | 'two'],
      },
      undefined,
      ['--overlay-backend', 'vxlan'],
    );
  const ready = await until(
    'both nodes are Ready',
    async () => {
      const found = await cluster.list<Node>('nodes');
      return found.length === 2 && found.every(isReady) && found;
    },
    90_000,
  );
  t.deepEqual(ready.map(({ spec }) => spec.podCIDR).sort(), ['10.244.0.0/24', '10.244.1.0/24']);
  const leases = await cluster.list<Lease>('leases', '-n', 'kube-node-lease');
  t.deepEqual(leases.map(({ spec }) => spec?.holderIdentity).sort(), ['one', 'two']);
  await tellOfOverlay(t, cluster, 'vxlan');
});

chapter('the demo runs on both nodes', async (t) => {
  for (const file of ['web.yaml', 'redis.yaml', 'two-containers.yaml'])
    await cluster.kubectl('apply', '-f', join(EXAMPLES, file));
  await cluster.kubectl('scale', 'deployment', 'web', '--replicas=4');
  const pods = await readyPods(6);
  t.deepEqual([...new Set(pods.map(({ spec }) => spec.nodeName))].sort(), ['one', 'two']);
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  t.true((await cluster.kubectl('get', 'pods', '-o', 'wide')).includes('Running'));
});

chapter('services answer across nodes, pods reach each other and the API', async (t) => {
  for (const [name, node] of nodes)
    for (const { address } of nodes.values()) {
      // Ready pods come into the rules with the proxy's next sync.
      const answer = await until(`the NodePort at ${address} answers ${name}`, async () => {
        const { stdout } = await node.sh(`curl -sf --max-time 5 http://${address}:30080/`);
        return stdout.includes('Berth works') && stdout;
      });
      t.regex(answer, /Berth works/);
    }
  const web = await cluster.list<Pod>('pods', '-l', 'app=web');
  const { spec } = await cluster.get<{ metadata: Pod['metadata']; spec: { clusterIP: string } }>('service', 'web');
  for (const from of oneOnEachNode(web)) {
    for (const to of web)
      t.is((await inPod(from, `wget -q -O - -T 5 http://${to.status?.podIP}/ | head -n 1`)).code, 0);
    for (let round = 0; round < 6; round++)
      t.regex((await inPod(from, `wget -q -O - -T 5 http://${spec.clusterIP}/`)).output, /Berth works/);
    // The `kubernetes` Service has no selector: its endpoint is the control plane's own address.
    t.is((await inPod(from, 'nc -w 5 10.96.0.1 443 </dev/null')).code, 0);
    const account = await inPod(from, 'cd /var/run/secrets/kubernetes.io/serviceaccount && ls && cat namespace');
    t.deepEqual(account.output.split('\n').filter(Boolean), ['ca.crt', 'namespace', 'token', 'default']);
  }
});

chapter('kubectl logs reads from both nodes, through kube-apiserver', async (t) => {
  for (const one of oneOnEachNode(await cluster.list<Pod>('pods', '-l', 'app=web')))
    t.regex(await cluster.kubectl('logs', one.metadata.name, '--tail=20'), /GET \//);
});

chapter('exec and port-forward on both nodes, through kube-apiserver', async (t) => {
  const pods = oneOnEachNode(await cluster.list<Pod>('pods', '-l', 'app=web'));
  for (const { metadata } of pods) await tellOfExec(t, cluster, metadata.name);
});

chapter('attach, cp, logs and what proxies lead to, through kube-apiserver', (t) =>
  tellOfStreams(t, cluster, [...nodes.keys()]),
);

chapter('events of our components arrive', async (t) => {
  const events = await cluster.list<Event>('events', '-A');
  const reasons = new Set(events.map(({ source, reason }) => `${source?.component} ${reason}`));
  for (const reason of ['Starting', 'NodeReady', 'Created', 'Started'])
    t.true(reasons.has(`kubelet ${reason}`), `${[...reasons]}`);
  t.true(reasons.has('kube-proxy Starting'), `${[...reasons]}`);
});

chapter('a container that needs time to end gets it, then its pod goes', async (t) => {
  await cluster.apply(
    pod(
      'slow',
      {
        ...script('trap "sleep 2; echo ended >/out/ended; exit 0" TERM; while :; do sleep 0.1; done'),
        volumeMounts: [{ name: 'out', mountPath: '/out' }],
      },
      {
        terminationGracePeriodSeconds: 20,
        nodeName: 'one',
        volumes: [{ name: 'out', hostPath: { path: '/srv/slow', type: 'DirectoryOrCreate' } }],
      },
    ),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/slow', '--timeout=60s');
  const started = performance.now();
  await cluster.kubectl('delete', 'pod', 'slow', '--timeout=30s');
  const seconds = (performance.now() - started) / 1000;
  t.true(seconds >= 2 && seconds < 15, `deleted after ${seconds} s`);
  t.is((await nodes.get('one')!.sh('cat /srv/slow/ended')).stdout, 'ended\n');
});

chapter('a node whose daemon is killed and started again adopts its pods', async (t) => {
  const node = nodes.get('two')!;
  const before = await node.engine.listContainers({ labels: ['io.kubernetes.pod.uid'] });
  const webBefore = await cluster.list<Pod>('pods', '--field-selector', 'spec.nodeName=two');
  await node.kill();
  const { stdout } = await node.sh(`curl -sf --max-time 5 http://${node.address}:30080/`);
  t.regex(stdout, /Berth works/, 'the service answers without the daemon');
  // What happens meanwhile is found when it is back.
  await cluster.kubectl('scale', 'deployment', 'web', '--replicas=6');
  node.restart();
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  await readyPods(8);
  const after = new Map(
    (await node.engine.listContainers({ labels: ['io.kubernetes.pod.uid'] })).map((one) => [one.id, one.state]),
  );
  for (const { id } of before) t.is(after.get(id), 'running');
  for (const { metadata, status } of webBefore) {
    const now = await cluster.get<Pod>('pod', metadata.name);
    t.is(now.status?.podIP, status?.podIP);
    t.deepEqual(
      now.status?.containerStatuses?.map(({ restartCount }) => restartCount),
      status?.containerStatuses?.map(({ restartCount }) => restartCount),
    );
  }
});

chapter('a Service that loses and gains endpoints is followed', async (t) => {
  await cluster.apply(service('late', { app: 'late' }));
  const late = await cluster.get<{ metadata: Pod['metadata']; spec: { clusterIP: string } }>('service', 'late');
  const [from] = oneOnEachNode(await cluster.list<Pod>('pods', '-l', 'app=web'));
  const ask = () => inPod(from!, `wget -q -O - -T 2 http://${late.spec.clusterIP}/`);
  t.not((await ask()).code, 0, 'no endpoint: refused');
  await cluster.apply(
    pod(
      'late',
      { ...script('mkdir /www; echo hello >/www/index.html; exec httpd -f -h /www') },
      { nodeName: 'two' },
      { labels: { app: 'late' } },
    ),
  );
  await until('the Service answers', async () => (await ask()).output.includes('hello'));
  await cluster.kubectl('delete', 'pod', 'late');
  await until('the Service refuses', async () => (await ask()).code !== 0);
});

chapter('a pod gets a secret, a token for an audience and facts about itself', async (t) => {
  await cluster.kubectl('create', 'secret', 'generic', 'keys', '--from-literal=password=s3cret');
  await cluster.kubectl('create', 'configmap', 'live', '--from-literal=key=first');
  const sources = [
    { configMap: { name: 'live' } },
    { serviceAccountToken: { path: 'token', audience: 'vault', expirationSeconds: 600 } },
    { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
    { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
  ];
  await cluster.apply(
    pod(
      'trusted',
      {
        ...script('sleep 3600'),
        env: [{ name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'keys', key: 'password' } } }],
        volumeMounts: [{ name: 'all', mountPath: '/all' }],
      },
      { volumes: [{ name: 'all', projected: { sources } }] },
    ),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/trusted', '--timeout=60s');
  const trusted = await cluster.get<Pod>('pod', 'trusted');
  t.is((await inPod(trusted, 'echo $PASSWORD; cat /all/name')).output, 's3cret\ntrusted');
  t.regex((await inPod(trusted, 'cat /all/ca.crt')).output, /BEGIN CERTIFICATE/);
  const [, claims = ''] = (await inPod(trusted, 'cat /all/token')).output.split('.');
  const { aud, sub } = JSON.parse(Buffer.from(claims, 'base64url').toString());
  t.deepEqual({ aud, sub }, { aud: ['vault'], sub: 'system:serviceaccount:default:default' });
  // The node's identity may watch what its pods name, one object at a time.
  await cluster.kubectl('patch', 'configmap', 'live', '--type=merge', '-p', '{"data":{"key":"changed"}}');
  const startedMs = performance.now();
  await until('the change is seen', async () => (await inPod(trusted, 'cat /all/key')).output === 'changed', 2000);
  t.log(`a ConfigMap's change was seen ${Math.round(performance.now() - startedMs)} ms after kubectl had returned`);
  await cluster.kubectl('delete', 'pod', 'trusted');
});

chapter('security contexts hold; what the node cannot give is refused by name', async (t) => {
  const show = script('id -u; id -G; grep -E "CapEff|Seccomp:" /proc/self/status; sleep 3600');
  const tight = { capabilities: { drop: ['ALL'] }, seccompProfile: { type: 'RuntimeDefault' }, runAsNonRoot: true };
  const sysctls = [{ name: 'kernel.shmmax', value: '1' }];
  const old = pod('armor', show) as Pod;
  old.metadata.annotations = { 'container.apparmor.security.beta.kubernetes.io/main': 'localhost/nobody-loaded-this' };
  await cluster.apply(
    pod('tight', { ...show, securityContext: tight }, { securityContext: { runAsUser: 1000, fsGroup: 2000 } }),
    pod('root', { ...show, securityContext: { runAsNonRoot: true } }),
    pod('unsafe', show, { securityContext: { sysctls } }),
    old,
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/tight', '--timeout=60s');
  t.is(await cluster.kubectl('logs', 'tight'), '1000\n0 2000\nCapEff:\t0000000000000000\nSeccomp:\t2\n');
  const state = async (name: string) => (await cluster.get<Pod>('pod', name)).status!;
  const failed = (name: string) => until(`${name} failed`, async () => (await state(name)).phase === 'Failed');
  await failed('unsafe');
  t.like(await state('unsafe'), {
    reason: 'SysctlForbidden',
    message: 'Pod was rejected: forbidden sysctl: "kernel.shmmax" not allowlisted',
  });
  const waiting = await until('root waits', async () => (await state('root')).containerStatuses?.[0]?.state?.waiting);
  t.regex(waiting.message ?? '', /runAsNonRoot and image will run as root/);
  // Whether or not the kernel has AppArmor, nobody runs under a profile that is not there.
  const { phase, containerStatuses } = await until('armor is refused', async () => {
    const status = await state('armor');
    const isRefused = status.phase === 'Failed' || status.containerStatuses?.[0]?.state?.waiting?.message;
    return isRefused ? status : undefined;
  });
  t.not(phase, 'Running');
  t.is(containerStatuses?.[0]?.state?.running, undefined);
  await cluster.kubectl('delete', 'pod', 'tight', 'root', 'unsafe', 'armor', '--wait=false');
});

chapter("a ServiceAccount may on a node's port what RBAC gives it there", async (t) => {
  await cluster.kubectl('create', 'serviceaccount', 'scraper');
  await cluster.kubectl('create', 'clusterrole', 'node-metrics', '--verb=get', '--resource=nodes/metrics');
  await cluster.kubectl(
    'create',
    'clusterrolebinding',
    'scraper',
    '--clusterrole=node-metrics',
    '--serviceaccount=default:scraper',
  );
  const secret = await until('the account has its token', async () => {
    const found = await cluster.list<Secret>('secrets');
    return found.find(({ metadata }) => metadata.annotations?.['kubernetes.io/service-account.name'] === 'scraper');
  });
  const token = Buffer.from(secret.data?.['token'] ?? '', 'base64').toString();
  for (const node of nodes.values()) {
    const ask = async (path: string) =>
      (
        await node.sh(
          `curl -sSk -o /dev/null -w '%{http_code}' -H 'Authorization: Bearer ${token}' https://${node.address}:10250${path}`,
        )
      ).stdout;
    t.is(await ask('/metrics'), '200');
    t.is(await ask('/pods'), '403');
  }
});

chapter('a static pod is shown by its node, and gone with its file', async (t) => {
  const node = nodes.get('one')!;
  const file = node.host.path(`${MANIFESTS}/still.yaml`);
  writeFileSync(file, JSON.stringify(pod('still', script('echo standing; sleep 3600'))));
  const shown = await until('the mirror pod is Ready', async () => {
    const { code, stdout } = await cluster.tryKubectl(['get', 'pod', 'still-one', '-o', 'json']);
    return code === 0 && isReady(JSON.parse(stdout)) && (JSON.parse(stdout) as Pod);
  });
  t.is(shown.metadata.ownerReferences?.[0]?.kind, 'Node');
  t.is(await cluster.kubectl('logs', 'still-one'), 'standing\n');
  rmSync(file);
  await until('the mirror pod is gone', async () => (await cluster.tryKubectl(['get', 'pod', 'still-one'])).code !== 0);
});

chapter('claims: a local volume that waits for its consumer, and one of a CSI driver', async (t) => {
  const node = nodes.get('two')!;
  const place = {
    path: node.host.path,
    spawn: (argv: string[]) => node.host.spawn(argv, { stdio: ['ignore', 'pipe', 'inherit'] }),
  };
  const name = 'test.csi.example';
  await node.sh('mkdir -p /srv/disk');
  await startCsiDriver(
    '/srv',
    '/var/lib/berth-node',
    { name, nodeName: 'two', topology: { 'topology.example/rack': 'r2' } },
    place,
  );
  const on = (key: string, value: string) => ({
    required: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator: 'In', values: [value] }] }] },
  });
  const volume = (which: string, source: object, nodeAffinity: object) => ({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: which },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'late',
      ...source,
      nodeAffinity,
    },
  });
  const claim = (which: string) => ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: which },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '1Gi' } },
      storageClassName: 'late',
      volumeName: which,
    },
  });
  await cluster.apply(
    {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: 'late' },
      provisioner: 'kubernetes.io/no-provisioner',
      volumeBindingMode: 'WaitForFirstConsumer',
    },
    { apiVersion: 'storage.k8s.io/v1', kind: 'CSIDriver', metadata: { name }, spec: { attachRequired: false } },
    volume('disk', { local: { path: '/srv/disk' } }, on('kubernetes.io/hostname', 'two')),
    volume('rack', { csi: { driver: name, volumeHandle: 'disk-1' } }, on('topology.example/rack', 'r2')),
    claim('disk'),
    claim('rack'),
    pod(
      'keeper',
      {
        ...script('echo here | tee /disk/file >/rack/file; sleep 3600'),
        volumeMounts: ['disk', 'rack'].map((which) => ({ name: which, mountPath: `/${which}` })),
      },
      { volumes: ['disk', 'rack'].map((which) => ({ name: which, persistentVolumeClaim: { claimName: which } })) },
    ),
  );
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/keeper', '--timeout=60s');
  t.log(await cluster.kubectl('get', 'pv,pvc,csinodes'));
  t.is((await node.sh(`cat /srv/disk/file /srv/driver-${name}/data/disk-1/file`)).stdout, 'here\nhere\n');
  await cluster.kubectl('delete', 'pod', 'keeper');
  const left = 'grep -cE "/var/lib/berth-node/.*kubernetes.io~(csi|local-volume)" /proc/self/mountinfo || true';
  t.is((await node.sh(left)).stdout, '0\n');
});

chapter('no request of ours was forbidden', (t) => {
  const ours = kubernetes.audit().filter(({ user }) => OURS.test(user.username));
  t.true(ours.length > 100, `${ours.length} requests of ours in the audit log`);
  const users = new Set(ours.map(({ user }) => user.username));
  t.deepEqual([...users].sort(), [...IDENTITIES, OVERLAY_ACCOUNT]);
  t.deepEqual(unexpectedRefusals(ours), []);
});

chapter('NodeRestriction stands: a node may not write to another', async (t) => {
  const { stderr, code } = await nodes
    .get('one')!
    .host.run(
      [
        'program' in kubectl ? kubectl.program : 'kubectl',
        ...['--kubeconfig', '/etc/berth/node.kubeconfig', 'label', 'node', 'two', 'stolen=yes'],
      ],
      { timeoutMs: 20_000 },
    );
  t.not(code, 0);
  t.regex(stderr, /orbidden/);
  const refused = kubernetes
    .audit()
    .filter(({ user, responseStatus }) => OURS.test(user.username) && responseStatus?.code === 403);
  t.is(refused.length, 1, 'and the audit log would have told');
});

chapter('while kube-apiserver is away, services answer; when it is back, so are the nodes', async (t) => {
  await kubernetes.killApiServer();
  for (const node of nodes.values())
    t.regex((await node.sh(`curl -sf --max-time 5 http://${node.address}:30080/`)).stdout, /Berth works/);
  await kubernetes.restartApiServer();
  const run = async (name: string) => {
    await cluster.apply(pod(name, script('sleep 3600'), { nodeName: 'one' }));
    await cluster.kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s');
    await cluster.kubectl('delete', 'pod', name);
  };
  // At first the server knows neither its own roles nor what belongs to which node, and forbids much to everybody.
  await run('after');
  const { length } = kubernetes.audit();
  await run('again');
  t.true((await cluster.list<Node>('nodes')).every(isReady));
  const since = kubernetes
    .audit()
    .slice(length)
    .filter(({ user }) => OURS.test(user.username));
  t.true(since.length > 10, `${since.length} requests of ours since then`);
  t.deepEqual(unexpectedRefusals(since), []);
});

/** `verb path code user` of each request that was not granted and should have been. */
function unexpectedRefusals(events: AuditEvent[]): string[] {
  return events
    .filter(({ responseStatus }) => (responseStatus?.code ?? 0) >= 400)
    .map(
      ({ verb, requestURI, responseStatus, user }) => `${verb} ${requestURI} ${responseStatus?.code} ${user.username}`,
    )
    .filter((line) => !EXPECTED_REFUSALS.some((one) => one.test(line)));
}

async function readyPods(count: number): Promise<Pod[]> {
  return until(
    `${count} pods are Ready`,
    async () => {
      const pods = (await cluster.list<Pod>('pods')).filter(({ metadata }) => !metadata.deletionTimestamp);
      return pods.length === count && pods.every(isReady) && pods;
    },
    90_000,
  );
}

function oneOnEachNode(pods: Pod[]): Pod[] {
  return [...new Map(pods.map((one) => [one.spec.nodeName, one])).values()];
}

async function inPod(target: Pod, text: string): Promise<{ code: number; output: string }> {
  const engine = nodes.get(target.spec.nodeName ?? '')!.engine;
  const id = target.status?.containerStatuses?.[0]?.containerID?.replace('docker://', '') ?? '';
  const { exitCode, output } = await engine.execInContainer(id, ['sh', '-c', text], { maxOutputBytes: 1 << 20 });
  return { code: exitCode, output: output.toString() };
}

function isReady({ status }: Pod | Node): boolean {
  return (
    (status?.conditions as { type: string; status: string }[] | undefined)?.some(
      (one) => one.type === 'Ready' && one.status === 'True',
    ) ?? false
  );
}
