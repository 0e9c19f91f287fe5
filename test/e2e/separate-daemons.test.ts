/**
 * The daemons apart: a cluster on host `one`, and `berth agent`, `berth proxy` and `berth overlay`, each with files and credentials of
 * its own as upstream's daemons have them, or all in one as `berth node`, on host `two`.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { imagesFolder } from '../../cli/cluster/images-folder.ts';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { createHost, type Host } from '../../cli/hosts/host.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';

const kubectl = await kubectlOrWhyNot();
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);
const story = skip ? test.serial.skip : test.serial;
const named = (title: string) => (skip ? `${title} (${skip})` : title);

const BERTH = join(CHECKOUT, 'berth');
const TWO = '198.51.100.11';
let one: ClusterHost;
let two: Host;
let before: HostSnapshot;
const daemons: ChildProcess[] = [];

if (!skip) {
  test.before(async () => {
    one = await createClusterHost('one');
    two = await createHost('two');
    await one.net.plug(two);
    await one.berthOk('up');
    await one.loadImages();
    two.spawn(
      [
        'dockerd',
        '--data-root',
        '/var/lib/docker',
        '--bridge=none',
        '--iptables=false',
        '--ip-masq=false',
        '--ip-forward=false',
      ],
      { stdio: 'ignore' },
    );
    await eventually('the second host has an Engine with the images', async () => {
      const { code } = await shell(
        `docker version && for image in ${imagesFolder()}/*.tar; do docker load -q -i $image; done`,
      );
      return code === 0;
    });
    before = await snapshotOfTwo();
  });
  test.after.always(async () => {
    await two?.close();
    await one?.close();
  });
}

const shell = (script: string, input?: string) => two.run(['sh', '-euc', script], { timeoutMs: 60_000, input });

async function snapshotOfTwo(): Promise<HostSnapshot> {
  const script = `import { snapshotHost } from '${CHECKOUT}/test/support/host-snapshot.ts'; process.stdout.write(JSON.stringify(await snapshotHost()))`;
  const { stdout, stderr, code } = await two.run([process.execPath, '--input-type=module', '-e', script]);
  if (code !== 0) throw new Error(stderr);
  const snapshot = JSON.parse(stdout) as HostSnapshot;
  // The host's Engine keeps a namespace of its own from the first container with the host's network on.
  return { ...snapshot, mounts: snapshot.mounts.filter((line) => !line.startsWith('/run/docker/')) };
}

async function eventually(what: string, check: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await check())) {
    if (performance.now() > deadline)
      throw new Error(`not within ${timeoutMs} ms: ${what}\n${(await shell('tail -n 20 /tmp/*.log || true')).stdout}`);
    await sleep(250);
  }
}

async function credentials(role: 'node' | 'proxy' | 'overlay'): Promise<void> {
  const { stdout } = await one.berthOk('node', 'kubeconfig', 'two', '--node-ip', TWO, '--for', role);
  const { code } = await shell(`mkdir -p /etc/berth && umask 077 && cat > /etc/berth/${role}.kubeconfig`, stdout);
  if (code !== 0) throw new Error('the kubeconfig could not be copied');
}

function daemon(name: string, ...args: string[]): void {
  const script = `echo $$ >/tmp/${name}.pid; exec "$0" "$@" >>/tmp/${name}.log 2>&1`;
  daemons.push(two.spawn(['sh', '-c', script, BERTH, name, ...args], { stdio: 'ignore' }));
}

async function stopDaemons(): Promise<void> {
  await shell('for file in /tmp/*.pid; do kill $(cat $file) 2>/dev/null || true; rm $file; done');
  const ended = daemons.splice(0).map((child) => child.exitCode ?? once(child, 'close'));
  await Promise.all(ended);
}

async function isReady(name: string): Promise<boolean> {
  const nodes = await one.list<Node>('nodes');
  return nodes.some(
    (node) =>
      node.metadata.name === name &&
      node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
  );
}

const web = (name: string, nodeName: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, labels: { app: 'across' } },
  spec: {
    nodeName,
    terminationGracePeriodSeconds: 1,
    containers: [
      { name: 'web', image: 'berth/nginx:1', readinessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 } },
    ],
  },
});

story(
  named('agent, proxy and overlay with configuration files and credentials of their own make a node'),
  async (t) => {
    for (const role of ['node', 'proxy', 'overlay'] as const) await credentials(role);
    await shell(
      'cat > /etc/berth/kubelet.yaml',
      'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 50\nclusterDomain: cluster.local\n',
    );
    await shell(
      'mkdir -p /etc/berth/kubelet.conf.d && cat > /etc/berth/kubelet.conf.d/10-pods.conf',
      'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 17\n',
    );
    await shell(
      'cat > /etc/berth/kube-proxy.yaml',
      'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.244.0.0/16\nhostnameOverride: two\nclientConnection:\n  kubeconfig: /etc/berth/proxy.kubeconfig\n',
    );
    daemon(
      'agent',
      '--config',
      '/etc/berth/kubelet.yaml',
      '--config-dir',
      '/etc/berth/kubelet.conf.d',
      '--node-labels',
      'example.com/rack=r1',
      '--kubeconfig',
      '/etc/berth/node.kubeconfig',
      '--node-name',
      'two',
      '--node-ip',
      TWO,
      '--root-dir',
      '/var/lib/berth-two',
    );
    daemon('overlay', '--kubeconfig', '/etc/berth/overlay.kubeconfig', '--node-name', 'two', '--backend', 'host-gw');
    await eventually('node two is Ready', () => isReady('two'));
    // The agent has recorded the host by now; each daemon takes back its own changes.
    daemon('proxy', '--config', '/etc/berth/kube-proxy.yaml');
    const node = await one.get<Node>('node', 'two');
    t.is(node.status?.capacity?.pods, '17', 'the drop-in stands above the file');
    t.is(node.metadata.labels?.['example.com/rack'], 'r1');
    t.true([node.status?.nodeInfo?.bootID, node.status?.nodeInfo?.systemUUID].every(Boolean));

    await one.apply(web('here', 'one'), web('there', 'two'));
    await one.kubectl('expose', 'pod', 'there', '--name', 'across', '--port', '80', '--selector', 'app=across');
    await one.kubectl('wait', '--for=condition=Ready', 'pod/here', 'pod/there', '--timeout=60s');
    const [here, there] = await Promise.all(['here', 'there'].map((name) => one.get<Pod>('pod', name)));
    t.is(there?.spec.nodeName, 'two');
    t.regex(there?.status?.podIP ?? '', /^10\.244\.1\./);
    // Pod to pod across the nodes, both ways, and a service from a pod and from the node of the separate proxy.
    for (const address of [there?.status?.podIP, here?.status?.podIP]) {
      await eventually(`${address} answers on both nodes`, async () => {
        const fetch = `curl -sf -m 2 http://${address}/`;
        return (await one.try(['sh', '-c', fetch])).code === 0 && (await shell(fetch)).code === 0;
      });
    }
    t.is(
      (await one.inPod('here', `wget -q -T 5 -O - http://${there?.status?.podIP}/ >/dev/null; echo $?`)).output.trim(),
      '0',
    );
    const { spec } = await one.get<Pod & { spec: { clusterIP: string } }>('service', 'across');
    await eventually(
      'the service answers on the second node',
      async () => (await shell(`curl -sf -m 2 http://${spec.clusterIP}/`)).code === 0,
    );
    t.regex(await one.kubectl('logs', 'there'), /GET \/ HTTP/);
  },
);

story(named('stopped daemons leave the node as it is; node --cleanup leaves nothing'), async (t) => {
  await stopDaemons();
  const there = await one.get<Pod>('pod', 'there');
  t.is((await shell(`curl -sf -m 2 http://${there.status?.podIP}/ >/dev/null`)).code, 0);

  daemon(
    'node',
    '--kubeconfig',
    '/etc/berth/node.kubeconfig',
    '--node-name',
    'two',
    '--node-ip',
    TWO,
    '--root-dir',
    '/var/lib/berth-two',
    '--config',
    '/etc/berth/kubelet.yaml',
  );
  await sleep(2000);
  await eventually('node two is Ready again', () => isReady('two'));
  t.is((await one.get<Pod>('pod', 'there')).status?.containerStatuses?.[0]?.restartCount, 0);
  t.is(
    (await one.get<Pod>('pod', 'there')).status?.containerStatuses?.[0]?.containerID,
    there.status?.containerStatuses?.[0]?.containerID,
  );
  await stopDaemons();
  t.is((await two.run([BERTH, 'proxy', '--cleanup'])).code, 0);
  t.is((await two.run([BERTH, 'overlay', '--cleanup'])).code, 0);
  const { code, stderr } = await two.run(
    [BERTH, 'node', '--cleanup', '--node-name', 'two', '--root-dir', '/var/lib/berth-two'],
    { timeoutMs: 60_000 },
  );
  t.is(code, 0, stderr);
  t.deepEqual(diffSnapshots(before, await snapshotOfTwo()), []);
});

story(named('an agent without an API server runs static pods'), async (t) => {
  await shell(
    'mkdir -p /etc/berth/manifests && cat > /etc/berth/manifests/alone.yaml',
    JSON.stringify({ ...web('alone', ''), spec: { containers: [{ name: 'web', image: 'berth/nginx:1' }] } }),
  );
  daemon(
    'agent',
    '--pod-manifest-path',
    '/etc/berth/manifests',
    '--pod-cidr',
    '10.244.9.0/24',
    '--node-name',
    'two',
    '--root-dir',
    '/var/lib/berth-alone',
  );
  await eventually(
    'the static pod answers',
    async () => (await shell('curl -sf -m 2 http://10.244.9.2/ >/dev/null')).code === 0,
  );
  await stopDaemons();
  await two.run([BERTH, 'node', '--cleanup', '--node-name', 'two', '--root-dir', '/var/lib/berth-alone'], {
    timeoutMs: 60_000,
  });
  t.deepEqual(diffSnapshots(before, await snapshotOfTwo()), []);
});

story(named('an agent whose API server is away runs static pods; they are shown when it comes back'), async (t) => {
  await credentials('node');
  const server = (await shell(`sed -n 's/ *server: //p' /etc/berth/node.kubeconfig`)).stdout.trim();
  await shell(
    'mkdir -p /etc/berth/early && cat > /etc/berth/early/early.yaml',
    JSON.stringify({
      ...web('early', ''),
      spec: { hostNetwork: true, containers: [{ name: 'web', image: 'berth/nginx:1' }] },
    }),
  );
  // Where nobody listens, until a wire to the real one is laid.
  await shell(
    'umask 077; sed "s,server: .*,server: https://127.0.0.1:9," /etc/berth/node.kubeconfig >/etc/berth/away.kubeconfig',
  );
  daemon(
    'agent',
    '--kubeconfig',
    '/etc/berth/away.kubeconfig',
    '--pod-manifest-path',
    '/etc/berth/early',
    '--node-name',
    'two',
    '--node-ip',
    TWO,
    '--root-dir',
    '/var/lib/berth-early',
  );
  await eventually(
    'the static pod answers',
    async () => (await shell(`curl -sf -m 2 http://${TWO}/ >/dev/null`)).code === 0,
  );
  const { host, port } = { host: new URL(server).hostname, port: Number(new URL(server).port) };
  const wire = `require('node:net').createServer((a) => { const b = require('node:net').connect(${port}, '${host}'); a.pipe(b).pipe(a); for (const s of [a, b]) s.on('error', () => { a.destroy(); b.destroy(); }); }).listen(9, '127.0.0.1')`;
  const relay = two.spawn([process.execPath, '-e', wire], { stdio: 'ignore' });
  await eventually('it is shown, with its state', async () => {
    const shown = (await one.list<Pod>('pods')).find(({ metadata }) => metadata.name === 'early-two');
    return shown?.status?.phase === 'Running';
  });
  t.pass();
  relay.kill();
  await stopDaemons();
  await two.run([BERTH, 'node', '--cleanup', '--node-name', 'two', '--root-dir', '/var/lib/berth-early'], {
    timeoutMs: 60_000,
  });
});

for (const [what, args, message] of [
  [
    'a configuration field that is wrong',
    ['agent', '--config', '/etc/berth/wrong.yaml'],
    /wrong\.yaml:\d+.*"maxPod".*maxPods/,
  ],
  ['a kubeconfig that cannot be read', ['agent', '--kubeconfig', '/etc/berth/none.kubeconfig'], /none\.kubeconfig/],
  ['no API server for the proxy', ['proxy'], /--kubeconfig FILE, or clientConnection\.kubeconfig/],
  [
    'a backend that is not there',
    ['overlay', '--kubeconfig', '/etc/berth/overlay.kubeconfig', '--backend', 'weave'],
    /--backend weave: Backend\.Type: "weave" is not one of host-gw, /,
  ],
  [
    'no Engine',
    ['agent', '--pod-manifest-path', '/etc/berth/manifests', '--docker-endpoint', 'unix:///nowhere.sock'],
    /no Docker Engine answers on unix:\/\/\/nowhere\.sock.*--docker-endpoint/,
  ],
  [
    'a proxy mode that is not there',
    ['proxy', '--kubeconfig', '/etc/berth/proxy.kubeconfig', '--proxy-mode', 'ebpf'],
    /"mode" is "ebpf"; accepted: "auto", "iptables", "ipvs", "nftables", "userspace"/,
  ],
] as const) {
  story(named(`refused in one or two lines, without a change: ${what}`), async (t) => {
    await shell(
      'cat > /etc/berth/wrong.yaml',
      'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPod: 17\n',
    );
    const { code, stderr } = await two.run([BERTH, ...args, '--node-name', 'two'], { timeoutMs: 30_000 });
    t.not(code, 0);
    t.regex(stderr, message);
    t.true(stderr.trim().split('\n').length <= 2, stderr);
    t.deepEqual(diffSnapshots(before, await snapshotOfTwo()), []);
  });
}
