/**
 * Every process of a cluster of two nodes is killed in turn while its Services are asked all the time; what was lost is counted.
 *
 *     host one: up (daemon, DNS server, dockerd, containerd)        host two: node (daemon), dockerd
 *     asked from host two: NodePort      asked from a pod on each node: ClusterIP, and the Service's name
 *
 * Rules and containers outlive whoever made them, so that only names may be missed, and only while no DNS server runs.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { Node, Pod, Service } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { deployment, httpServer, pod, script, service } from '../support/manifests.ts';
import { createNodeHost, type NodeHost } from '../support/node-host.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;

const NODE_PORT = 30082;
const COUNTS = '/srv/counts';
/** Some load before the kill and after the return. */
const AROUND_MS = 1500;

let one: ClusterHost;
let two: NodeHost;

test.serial.before(async () => {
  if (story === test.skip) return;
  one = await createClusterHost('one');
  [two] = await Promise.all([createNodeHost('two', one.net), one.berthOk('up')]);
  await one.loadImages();
  const node = (await one.berthOk('node', 'kubeconfig', 'two', '--node-ip', two.address)).stdout;
  two.start({ node }, (await one.berthOk('node', 'config')).stdout);
  await until('both nodes are Ready', async () => (await one.list<Node>('nodes')).filter(isReady).length === 2);
  await one.apply(
    deployment('web', 2, { ...httpServer(), readinessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 } }),
    service('web', { app: 'web' }, { type: 'NodePort', ports: [{ port: 80, nodePort: NODE_PORT }] }),
  );
  const { spec } = await one.get<Service>('service', 'web');
  const asker = (name: string, nodeName: string, to: string) => pod(name, asking(to), { nodeName });
  await one.apply(
    asker('ip-one', 'one', spec.clusterIP!),
    asker('ip-two', 'two', spec.clusterIP!),
    asker('name-one', 'one', 'web'),
  );
  await one.kubectl('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=90s');
  const loop = `while sleep 0.05; do curl -sf -m 2 -o /dev/null http://${one.address}:${NODE_PORT}/ && echo ok || echo lost; done`;
  two.host.spawn(['timeout', '300', 'sh', '-c', `exec >${COUNTS}; ${loop}`], { stdio: 'ignore' });
});
test.serial.before(async () => {
  if (story === test.skip) return;
  // Routes and rules of the second node come with its proxy's and overlay's own time.
  await until('everybody is answered every time', async () => {
    const before = await counts();
    await sleep(4000);
    const after = Object.entries(await counts());
    return after.every(([from, { ok, lost }]) => ok > before[from]!.ok && lost === before[from]!.lost);
  });
});
test.after.always(async () => {
  await two?.close();
  await one?.close();
});

interface Kill {
  what: string;
  kill(): Promise<unknown>;
  /** Brings it back where nobody else does, and waits until it works. */
  back(): Promise<unknown>;
}

const onOne = (pidFile: string) => one.sh(`kill -KILL $(cat ${pidFile})`);
const kills: Kill[] = [
  {
    what: 'the daemon of the first node (control plane, agent, proxy)',
    kill: () => onOne('/run/berth/berth.pid'),
    back: () => one.berthOk('up'),
  },
  { what: 'the DNS server', kill: () => onOne('/run/berth/dns.pid'), back: nameAnswers },
  { what: 'the Engine of the first node', kill: () => onOne('/run/berth/docker.pid'), back: () => engineAnswers(one) },
  {
    what: 'containerd of the first node',
    kill: () => one.sh('kill -KILL $(pgrep -P $(cat /run/berth/docker.pid) -x containerd)'),
    back: () => engineAnswers(one),
  },
  {
    what: 'the daemon of the second node',
    kill: () => two.kill(),
    async back() {
      two.restart();
      await until(
        'the second node is looked after',
        async () => (await one.tryKubectl(['logs', 'ip-two', '--tail=1'])).code === 0,
      );
    },
  },
];

for (const { what, kill, back } of kills)
  story(`killed under load: ${what}`, async (t) => {
    const containers = await runningContainers();
    const before = await counts();
    await sleep(AROUND_MS);
    await kill();
    await back();
    await sleep(AROUND_MS);
    const after = await counts();
    for (const [from, { ok, lost }] of Object.entries(after)) {
      const asked = ok - before[from]!.ok;
      const missed = lost - before[from]!.lost;
      t.log(`${from}: ${asked} answered, ${missed} lost`);
      t.true(asked > 0, from);
      if (!(from === 'name-one' && what === 'the DNS server')) t.is(missed, 0, from);
    }
    t.deepEqual(await runningContainers(), containers);
  });

story('afterwards nothing was restarted, and a new pod starts on each node', async (t) => {
  const pods = await one.list<Pod>('pods');
  t.deepEqual(
    pods.map(({ status }) => status?.containerStatuses?.[0]?.restartCount),
    pods.map(() => 0),
  );
  for (const nodeName of ['one', 'two'])
    await one.apply(pod(`late-${nodeName}`, script('echo hello'), { nodeName, restartPolicy: 'Never' }));
  for (const nodeName of ['one', 'two'])
    await one.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', `pod/late-${nodeName}`, '--timeout=60s');
});

/** A container that asks over and over, and says of each time how it went. */
function asking(to: string): { command: string[] } {
  return script(
    `while sleep 0.1; do wget -q -T 2 -O /dev/null http://${to}/ 2>/dev/null && echo ok || echo lost; done`,
  );
}

/** What each asker has said so far. Logs are read from the files: no Engine is needed for it. */
async function counts(): Promise<Record<string, { ok: number; lost: number }>> {
  const count = (text: string) => ({ ok: text.split('ok').length - 1, lost: text.split('lost').length - 1 });
  const log = (name: string) => `cat /var/log/pods/default_${name}_*/main/0.log`;
  return {
    'NodePort of the first node': count((await two.sh(`cat ${COUNTS}`)).stdout),
    'ip-one': count(await one.sh(log('ip-one'))),
    'ip-two': count((await two.sh(log('ip-two'))).stdout),
    'name-one': count(await one.sh(log('name-one'))),
  };
}

async function runningContainers(): Promise<string[]> {
  const found = await until('the Engines answer', async () =>
    Promise.all(
      [one.engine(), two.engine].map((engine) => engine.listContainers({ labels: ['io.kubernetes.pod.uid'] })),
    ),
  );
  return found
    .flat()
    .filter(({ state }) => state === 'running')
    .map(({ id }) => id)
    .sort();
}

async function engineAnswers(cluster: ClusterHost): Promise<void> {
  await until('the Engine answers', async () => (await cluster.engine().info()) !== undefined);
  await cluster.kubectl('logs', 'ip-one', '--tail=1');
}

/** A resolver that asked while nobody answered waits for seconds before it asks again. */
async function nameAnswers(): Promise<void> {
  const answered = async () => (await counts())['name-one']!.ok;
  const before = await answered();
  await until('the name answers', async () => (await answered()) > before + 10);
}

function isReady({ status }: Node): boolean {
  return status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false;
}
