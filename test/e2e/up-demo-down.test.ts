/** The first two minutes of a new user, in order: up, up again, status, demo, down, down again, up with the data, purge. */
import test from 'ava';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;

let cluster: ClusterHost;
let before: HostSnapshot;
let runBefore: string;
let leaseRenewed: string;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('newcomer');
  before = await cluster.snapshot();
  runBefore = await cluster.sh('ls -A /run');
});
test.after.always(() => cluster?.close());

story('up: a Ready node, a kubeconfig for the admin alone, three commands worth trying', async (t) => {
  const { stdout, stderr } = await cluster.berthOk('up');
  t.regex(stderr, /node newcomer is Ready/);
  t.regex(stderr, /kubeconfig is \/var\/lib\/berth\/kubeconfig/);
  t.is(stdout.match(/\.\/berth /g)?.length, 3);
  t.is((await cluster.sh('stat -c %a-%U /var/lib/berth/kubeconfig')).trim(), '600-root');
  t.is((await cluster.berthOk('kubeconfig')).stdout, '/var/lib/berth/kubeconfig\n');
  const { stdout: nodes } = await cluster.berthOk('kubectl', 'get', 'nodes');
  t.regex(nodes, /^newcomer +Ready /m);
  t.is(
    await cluster.kubectl('get', 'namespaces', '-o', 'name'),
    ['namespace/default', 'namespace/kube-node-lease', 'namespace/kube-public', 'namespace/kube-system', ''].join('\n'),
  );
});

story('a second up says that it runs', async (t) => {
  const pid = (await cluster.sh('cat /run/berth/berth.pid')).trim();
  const { stdout } = await cluster.berthOk('up');
  t.regex(stdout, new RegExp(`already runs here \\(pid ${pid}, node newcomer\\)`));
  t.is((await cluster.sh('cat /run/berth/berth.pid')).trim(), pid);
});

story('status tells components with their pids, the node, pods, versions and files', async (t) => {
  const pid = Number(await cluster.sh('cat /run/berth/berth.pid'));
  const enginePid = Number(await cluster.sh('cat /run/berth/docker.pid'));
  const found = JSON.parse((await cluster.berthOk('status', '-o', 'json')).stdout);
  t.is(found.running, true);
  const components = new Map(found.components.map((one: { name: string }) => [one.name, one]));
  for (const name of ['control plane', 'agent', 'proxy']) t.like(components.get(name), { healthy: true, pid });
  t.like(components.get('docker (own)'), { healthy: true, pid: enginePid });
  t.like(found.nodes[0], { name: 'newcomer', ready: true });
  t.deepEqual(found.pods, { total: 0, running: 0, ready: 0, notReady: [] });
  t.regex(found.versions.kubernetes, /^v1\.\d+/);
  t.is(found.files.kubeconfig, '/var/lib/berth/kubeconfig');
  t.is((await cluster.try(['test', '-s', found.files.log])).code, 0);
  const forPeople = (await cluster.berthOk('status')).stdout;
  t.regex(forPeople, /^control plane +healthy/m);
  t.regex(forPeople, /^newcomer +Ready/m);
});

story('doctor finds no problem, and the runtime with which pods start faster in use', async (t) => {
  const { findings } = JSON.parse((await cluster.berthOk('doctor', '-o', 'json')).stdout);
  const states = new Map(findings.map(({ check, state }: { check: string; state: string }) => [check, state]));
  t.is(states.get('docker engine'), 'ok');
  t.is(states.get('pod runtime'), 'ok');
  t.false([...states.values()].includes('problem'));
  const forPeople = (await cluster.berthOk('doctor')).stdout;
  t.regex(forPeople, /^pod runtime +ok +berth /m);
  t.regex(forPeople, /^0 problems, /m);
});

story('the node describes itself', async (t) => {
  const node = await cluster.get<Node>('node', 'newcomer');
  t.like(node.status?.nodeInfo, {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    operatingSystem: 'linux',
  });
  for (const resource of ['cpu', 'memory', 'pods', 'ephemeral-storage']) {
    t.truthy(node.status?.capacity?.[resource], `capacity ${resource}`);
    t.truthy(node.status?.allocatable?.[resource], `allocatable ${resource}`);
  }
  t.deepEqual(
    node.status?.addresses?.map(({ type, address }) => [type, address]),
    [
      ['InternalIP', cluster.address],
      ['Hostname', 'newcomer'],
    ],
  );
  t.is(node.spec.podCIDR, '10.244.0.0/24');
  leaseRenewed = await renewTime();
});

story('demo answers by ClusterIP, NodePort, redis and logs', async (t) => {
  const { stdout } = await cluster.berthOk('demo');
  t.regex(stdout, /\$ curl http:\/\/10\.\d+\.\d+\.\d+\/\n<h1>Berth works<\/h1>/);
  t.regex(stdout, new RegExp(`\\$ curl http://${cluster.address}:30080/\\n<h1>Berth works</h1>`));
  t.regex(stdout, /redis-cli -h 10\.\S+ ping\nPONG/);
  t.regex(stdout, /kubectl logs neighbours -c visitor --tail=1\n<h1>nginx/);
  const found = JSON.parse((await cluster.berthOk('status', '-o', 'json')).stdout);
  t.deepEqual(found.pods, { total: 5, running: 5, ready: 5, notReady: [] });
  const all = await cluster.list<Pod>('pods');
  t.deepEqual([...new Set(all.map((pod) => pod.status?.podIP?.replace(/\d+$/, '')))], ['10.244.0.']);
  t.truthy(await until('the lease is renewed', async () => (await renewTime()) !== leaseRenewed));
});

story('down leaves nothing on the host but data; saying it twice is fine', async (t) => {
  await cluster.berthOk('down');
  t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
  t.deepEqual(await processes(), []);
  t.deepEqual(await files('/run/berth', '/var/log/pods', '/var/log/containers', '/var/lib/berth/cni/networks'), []);
  t.deepEqual(await files('/var/lib/berth/kubelet/pods'), []);
  t.is(await cluster.sh('ls -A /run'), runBefore);
  await cluster.berthOk('down');
  t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
});

story('status and kubectl of a stopped cluster say so', async (t) => {
  const status = await cluster.berth('status');
  t.is(status.code, 1);
  t.regex(status.stdout, /does not run/);
  t.not((await cluster.berth('kubectl', 'get', 'nodes')).code, 0);
});

story('up after down has the objects of before, and they run again', async (t) => {
  await cluster.berthOk('up');
  await cluster.kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
  t.is((await cluster.sh(`curl -sf http://${cluster.address}:30080/ | head -1`)).trim(), '<h1>Berth works</h1>');
  await cluster.berthOk('demo', '--remove');
  await until('the demo is gone', async () => (await cluster.list('pods')).length === 0);
});

story('down --purge takes the data too', async (t) => {
  await cluster.berthOk('down', '--purge');
  t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
  t.deepEqual(await processes(), []);
  t.deepEqual(
    await files('/var/lib/berth', '/run/berth', '/var/log/berth', '/var/log/pods', '/var/log/containers', '/etc/cni'),
    [],
  );
  const again = await cluster.berth('down');
  t.not(again.code, 0);
  t.regex(again.stderr, /there is no cluster in \/var\/lib\/berth/);
});

function renewTime(): Promise<string> {
  return cluster.kubectl('get', 'lease', '-n', 'kube-node-lease', 'newcomer', '-o', 'jsonpath={.spec.renewTime}');
}

/** What runs in the host beside its init and the one who looks. */
async function processes(): Promise<string[]> {
  const found = await cluster.sh('ps -eo args=');
  return found.split('\n').filter((line) => line !== '' && !/^(catatonit -P|sh -euc |ps -eo )/.test(line));
}

/** Everything below these folders (not they themselves). */
async function files(...folders: string[]): Promise<string[]> {
  const found = await cluster.sh(`find ${folders.join(' ')} -mindepth 1 2>/dev/null || true`);
  return found.split('\n').filter(Boolean);
}
