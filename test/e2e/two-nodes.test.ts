/**
 * A second node: `berth up` on host `one`, `berth node` on host `two` with what `berth node kubeconfig` and `berth node config` print.
 * Pods of both reach each other, names and Services; then the second node falls silent in every way that nodes do, and comes back.
 */
import test, { type ExecutionContext } from 'ava';
import type { DockerEngine } from '../../src/docker/engine.ts';
import type { EndpointSlice, Node, Pod, Service } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { deployment, httpServer, pod, service } from '../support/manifests.ts';
import { createNodeHost, type NodeHost } from '../support/node-host.ts';

const kubectl = await kubectlOrWhyNot();
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);

/** Long enough for a busy machine, short enough for a test. */
const GRACE_SECONDS = 8;
const TOLERATION_SECONDS = 5;
const NODE_PORT = 30081;
/** Stays on a silent node for as long as the test takes. */
const PATIENT = [
  { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 3600 },
];

let one: ClusterHost;
let two: NodeHost;
let hasFailed = false;

test.before(async () => {
  if (skip) return;
  one = await createClusterHost('one');
  [two] = await Promise.all([
    createNodeHost('two', one.net),
    one.berthOk(
      'up',
      ...['--node-monitor-period', '500ms', '--node-monitor-grace-period', `${GRACE_SECONDS}s`],
      ...['--default-not-ready-toleration-seconds', `${TOLERATION_SECONDS}`],
      ...['--default-unreachable-toleration-seconds', `${TOLERATION_SECONDS}`],
    ),
  ]);
  await one.loadImages();
});
test.after.always(async (t) => {
  if (hasFailed && one) {
    t.log(await one.kubectl('get', 'nodes,pods,endpointslices', '-A', '-o', 'wide').catch(String));
    t.log((await one.try(['tail', '-n', '40', '/var/log/berth/berth.log'])).stdout);
    t.log((await two?.log())?.split('\n').slice(-40).join('\n'));
  }
  await two?.close();
  await one?.close();
});

/** A chapter of the cluster's life; they build on each other. */
function chapter(title: string, tell: (t: ExecutionContext) => Promise<unknown>): void {
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

chapter('a second host joins with what the first one prints', async (t) => {
  await join();
  const { spec, status } = await nodeIs('two', 'True');
  t.is(spec?.podCIDR, '10.244.1.0/24');
  // The controller takes the taints off a moment after it sees the node Ready.
  await until(
    'node two has no taints',
    async () => ((await one.get<Node>('node', 'two')).spec?.taints ?? []).length === 0,
  );
  t.true(status?.addresses?.some(({ address }) => address === two.address));
  t.notRegex(await two.log(), /others than its owner may read/);
});

chapter('a third host is refused the name of one that lives, before it changes anything', async (t) => {
  const three = await createNodeHost('three', one.net);
  try {
    const { stdout } = await one.berthOk('node', 'kubeconfig', 'two', '--node-ip', three.address);
    const script = `umask 022; cat >/srv/two.kubeconfig; ip link >/srv/links; iptables-save >/srv/rules
      code=0; ${one.berthPath} node --kubeconfig /srv/two.kubeconfig --node-name two --node-ip ${three.address} 2>&1 || code=$?
      ip link | cmp - /srv/links; [ "$(iptables-save | grep -v '^#')" = "$(grep -v '^#' /srv/rules)" ]; exit $code`;
    const refused = await three.host.run(['sh', '-uc', script], { input: stdout, timeoutMs: 60_000 });
    t.is(refused.code, 1, refused.stdout);
    t.regex(refused.stdout, /others than its owner may read these credentials: chmod 600 \/srv\/two\.kubeconfig/);
    t.true(
      refused.stdout.includes(
        `node two lives already, on the host with the address ${two.address}: give this one another name`,
      ),
      refused.stdout,
    );
    t.is((await one.get<Node>('node', 'two')).status?.addresses?.[0]?.address, two.address);
  } finally {
    await three.close();
  }
});

chapter('pods of both nodes reach each other, Services by address and by name, and the API', async (t) => {
  await one.apply(
    deployment('web', 4, { ...httpServer(), readinessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 } }),
    service('web', { app: 'web' }, { type: 'NodePort', ports: [{ port: 80, nodePort: NODE_PORT }] }),
    pod('patient', httpServer(), { nodeName: 'two', tolerations: PATIENT }, { labels: { app: 'patient' } }),
    service('patient', { app: 'patient' }),
  );
  const pods = await webPods(4);
  await one.kubectl('wait', '--for=condition=Ready', 'pod/patient', '--timeout=60s');
  t.deepEqual(nodesOf(pods), ['one', 'two']);
  await talk(t, pods);
});

chapter('NodePorts answer on both nodes, asked from both', async (t) => {
  await nodePortsAnswer(t);
});

chapter('a node whose cable is pulled is NotReady; back in time, its pods stay', async (t) => {
  const before = await containersOf(two.engine);
  const patient = await one.get<Pod>('pod', 'patient');
  await cable('down');
  await nodeIs('two', 'Unknown');
  await until('its pods are not ready', async () => !isReady(await one.get<Pod>('pod', 'patient')));
  await until('no endpoint of it is ready', async () => (await readyNodesOf('patient')).length === 0);
  await cable('up');
  await nodeIs('two', 'True');
  await untainted();
  await until('its pods are ready again', async () => isReady(await one.get<Pod>('pod', 'patient')));
  await until('its endpoints are back', async () => (await readyNodesOf('patient')).includes('two'));
  const after = await one.get<Pod>('pod', 'patient');
  t.is(after.metadata.uid, patient.metadata.uid);
  t.is(after.status?.containerStatuses?.[0]?.containerID, patient.status?.containerStatuses?.[0]?.containerID);
  const now = await containersOf(two.engine);
  const id = patient.status?.containerStatuses?.[0]?.containerID?.replace('docker://', '') ?? '';
  t.true(before.has(id) && now.has(id));
  await settle();
});

chapter(
  'a node whose daemon is killed loses its pods to the other; started again, it adopts what may stay',
  async (t) => {
    await spread();
    const patient = await one.get<Pod>('pod', 'patient');
    await two.kill();
    await deathIsNoticed(t);
    // It runs on: nobody has told the containers.
    t.true((await containersOf(two.engine)).size > 0);
    two.restart();
    await cameBackClean(t);
    const after = await one.get<Pod>('pod', 'patient');
    t.is(after.metadata.uid, patient.metadata.uid);
    t.is(after.status?.containerStatuses?.[0]?.containerID, patient.status?.containerStatuses?.[0]?.containerID);
    t.is(after.status?.containerStatuses?.[0]?.restartCount, 0);
    await spread();
    await talk(t, await webPods(4));
  },
);

chapter('a node whose host dies is replaced by a fresh host of the same name', async (t) => {
  await spread();
  const patient = await one.get<Pod>('pod', 'patient');
  const { address } = two;
  await two.close();
  await deathIsNoticed(t);
  two = await createNodeHost('two', one.net);
  t.not(two.address, address);
  await join();
  await cameBackClean(t);
  const { spec, status } = await one.get<Node>('node', 'two');
  t.is(spec?.podCIDR, '10.244.1.0/24', 'the object and with it the pods’ network stay');
  t.is(status?.addresses?.find(({ type }) => type === 'InternalIP')?.address, two.address);
  // Its containers are gone, the pod was never taken away: it is started anew.
  await one.kubectl('wait', '--for=condition=Ready', 'pod/patient', '--timeout=60s');
  t.is((await one.get<Pod>('pod', 'patient')).metadata.uid, patient.metadata.uid);
  await spread();
  await talk(t, await webPods(4));
  await nodePortsAnswer(t);
});

/** Everything that another host needs comes from the first one's command line. */
async function join(): Promise<void> {
  const node = (await one.berthOk('node', 'kubeconfig', 'two', '--node-ip', two.address)).stdout;
  const config = (await one.berthOk('node', 'config')).stdout;
  two.start({ node }, config);
}

/** Silence → Unknown and tainted, out of the Services; then every pod that may not stay is replaced on the other node. */
async function deathIsNoticed(t: ExecutionContext): Promise<void> {
  const silentSinceMs = performance.now();
  const node = await nodeIs('two', 'Unknown');
  t.log(`NotReady after ${((performance.now() - silentSinceMs) / 1000).toFixed(1)} s of ${GRACE_SECONDS}`);
  for (const type of ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure']) {
    const condition = node.status?.conditions?.find((other) => other.type === type);
    t.like(condition, {
      status: 'Unknown',
      reason: 'NodeStatusUnknown',
      message: 'Kubelet stopped posting node status.',
    });
  }
  const tainted = await until('it is tainted', async () => {
    const { spec } = await one.get<Node>('node', 'two');
    return spec?.taints?.length === 2 && spec.taints;
  });
  t.deepEqual(tainted.map(({ key, effect }) => `${key}:${effect}`).sort(), [
    'node.kubernetes.io/unreachable:NoExecute',
    'node.kubernetes.io/unreachable:NoSchedule',
  ]);
  const taintedMs = performance.now();
  await until('no endpoint of it is ready', async () => !(await readyNodesOf('web')).includes('two'));
  await until('the Service answers every time', async () => {
    const script = `for i in $(seq 12); do curl -sf -m 1 http://${one.address}:${NODE_PORT}/ >/dev/null || exit 1; done`;
    return (await one.try(['sh', '-c', script])).code === 0;
  });
  const pods = await webPods(4);
  t.log(`replaced ${((performance.now() - taintedMs) / 1000).toFixed(1)} s after the taint, of ${TOLERATION_SECONDS}`);
  t.deepEqual(nodesOf(pods), ['one']);
  const left = (await one.list<Pod>('pods')).filter(({ spec }) => spec.nodeName === 'two');
  const leaving = left.filter(({ metadata }) => metadata.deletionTimestamp);
  t.true(leaving.length > 0, 'without the node, nobody can tell that they have ended');
  for (const { status } of leaving)
    t.is(status?.conditions?.find(({ type }) => type === 'DisruptionTarget')?.reason, 'DeletionByTaintManager');
  t.deepEqual(
    left.filter((other) => !leaving.includes(other)).map(({ metadata }) => metadata.name),
    ['patient'],
  );
}

/** Ready, untainted, and nothing on the node or in the API that isn't wanted. */
async function cameBackClean(t: ExecutionContext): Promise<void> {
  const sinceMs = performance.now();
  await nodeIs('two', 'True');
  t.log(`Ready ${((performance.now() - sinceMs) / 1000).toFixed(1)} s after the start`);
  await untainted();
  await settle();
  await until('its taints are gone', async () => !(await one.get<Node>('node', 'two')).spec?.taints?.length);
}

/** Waits until no pod is on its way out and the second node's containers are exactly those of its pods: each once, with one sandbox each. */
async function settle(): Promise<void> {
  await until(
    'each pod has its containers once, and nothing else is left',
    async () => {
      const pods = await one.list<Pod>('pods');
      if (pods.some(({ metadata }) => metadata.deletionTimestamp)) return false;
      const wanted = pods
        .filter(({ spec }) => spec.nodeName === 'two')
        .flatMap(({ metadata, spec }) =>
          ['POD', ...spec.containers.map(({ name }) => name)].map((name) => `${metadata.uid} ${name}`),
        );
      const found = [...(await containersOf(two.engine)).values()];
      return found.length === wanted.length && found.sort().join() === wanted.sort().join();
    },
    60_000,
  );
}

/** `pod uid, container` of each container that runs, by id. */
async function containersOf(engine: DockerEngine): Promise<Map<string, string>> {
  const all = await engine.listContainers({ labels: ['io.kubernetes.pod.uid'] });
  return new Map(
    all
      .filter(({ state }) => state === 'running')
      .map(({ id, labels }) => [id, `${labels['io.kubernetes.pod.uid']} ${labels['io.kubernetes.container.name']}`]),
  );
}

/** Puts the Deployment onto both nodes again. */
async function spread(): Promise<void> {
  await one.kubectl('rollout', 'restart', 'deployment/web');
  await one.kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
  await until('the pods are on both nodes', async () => nodesOf(await webPods(4)).length === 2);
  await settle();
}

/** From a pod on each node: every pod, the Service's address and name, the API server by name; and both nodes' logs. */
async function talk(t: ExecutionContext, pods: Pod[]): Promise<void> {
  const { spec } = await one.get<Service>('service', 'web');
  for (const from of oneOnEachNode(pods)) {
    const where = `from ${from.metadata.name} on ${from.spec.nodeName}`;
    for (const to of [
      ...pods.map(({ status }) => status?.podIP),
      spec.clusterIP,
      'web',
      'web.default.svc.cluster.local',
      'patient',
    ])
      await until(
        `${to} answers ${where}`,
        async () => (await inPod(from, `wget -q -T 3 -O - http://${to}/`)).code === 0,
        15_000,
      );
    // Each endpoint is met through the Service, whichever node it is on.
    // A pod that has just become Ready is in the rules with the proxy's next sync.
    const all = pods.map(({ metadata }) => metadata.name).sort();
    await until(`the Service leads to all pods ${where}`, async () => {
      const { output } = await inPod(from, 'for i in $(seq 40); do wget -q -T 3 -O - http://web/; done | sort -u');
      return output.trim() === all.join('\n');
    });
    t.is((await inPod(from, 'nc -w 5 kubernetes.default 443 </dev/null')).code, 0, where);
    await one.kubectl('logs', from.metadata.name);
  }
}

async function nodePortsAnswer(t: ExecutionContext): Promise<void> {
  for (const address of [one.address, two.address]) {
    const script = `for i in $(seq 8); do curl -sf -m 3 http://${address}:${NODE_PORT}/; done`;
    t.regex(await one.sh(script), /^(web-\S+\n){8}$/, `${address} from one`);
    const { stdout, stderr } = await two.sh(script);
    t.regex(stdout, /^(web-\S+\n){8}$/, `${address} from two: ${stderr}`);
  }
}

/** The Deployment's pods, when so many are Ready and none is wanted or left beside them. */
async function webPods(count: number): Promise<Pod[]> {
  return until(
    `${count} pods are Ready`,
    async () => {
      const pods = (await one.list<Pod>('pods', '-l', 'app=web')).filter(({ metadata }) => !metadata.deletionTimestamp);
      return pods.length === count && pods.every(isReady) && pods;
    },
    90_000,
  );
}

/** Nodes with a ready endpoint of the Service. */
async function readyNodesOf(name: string): Promise<(string | undefined)[]> {
  const slices = await one.list<EndpointSlice>('endpointslices', '-l', `kubernetes.io/service-name=${name}`);
  return slices
    .flatMap(({ endpoints }) => endpoints ?? [])
    .filter(({ conditions }) => conditions?.ready)
    .map(({ nodeName }) => nodeName);
}

/** Waits for that status of the node's Ready condition. */
async function nodeIs(name: string, status: 'True' | 'Unknown'): Promise<Node> {
  return until(
    `node ${name} is Ready: ${status}`,
    async () => {
      const node = (await one.list<Node>('nodes')).find(({ metadata }) => metadata.name === name);
      const ready = node?.status?.conditions?.find(({ type }) => type === 'Ready');
      return ready?.status === status && node;
    },
    60_000,
  );
}

async function untainted(): Promise<void> {
  await until('the taints are gone', async () => !(await one.get<Node>('node', 'two')).spec?.taints?.length);
}

/** The second host's port of the switch. */
async function cable(state: 'up' | 'down'): Promise<void> {
  const { code, stderr } = await one.net.host.run(['ip', 'link', 'set', 'p1', state]);
  if (code !== 0) throw new Error(stderr);
}

async function inPod(target: Pod, text: string): Promise<{ code: number; output: string }> {
  const engine = target.spec.nodeName === 'two' ? two.engine : one.engine();
  const id = target.status?.containerStatuses?.[0]?.containerID?.replace('docker://', '') ?? '';
  const { exitCode, output } = await engine.execInContainer(id, ['sh', '-c', text], { maxOutputBytes: 1 << 20 });
  return { code: exitCode, output: output.toString() };
}

function nodesOf(pods: Pod[]): (string | undefined)[] {
  return [...new Set(pods.map(({ spec }) => spec.nodeName))].sort();
}

function oneOnEachNode(pods: Pod[]): Pod[] {
  return [...new Map(pods.map((other) => [other.spec.nodeName, other])).values()];
}

function isReady({ status }: Pod): boolean {
  return status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false;
}
