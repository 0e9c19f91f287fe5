/**
 * A node's daemon is killed at every step that it takes at the Engine while a pod of the API comes and goes, with the real network and the real
 * API server: test/docker/agent/kill-points has the same with static pods, for every day. With `--full` only.
 *
 *     host one: up (control plane)      host two: node daemon ── fault proxy ── dockerd
 */
import test, { type ExecutionContext } from 'ava';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { type DockerFaultProxy, startDockerFaultProxy } from '../support/docker-fault-proxy.ts';
import { pod, script } from '../support/manifests.ts';
import { createNodeHost, type NodeHost } from '../support/node-host.ts';

const kubectl = await kubectlOrWhyNot();
const isFull = process.env.BERTH_TEST_FULL === '1';
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : isFull ? undefined : 'with --full only');

const PROXY_SOCKET = '/run/faulty.sock';
const STEPS = { path: /^\/(containers|images)\// };
/** More than a pod's start takes steps: the loop ends when one is not reached. */
const MOST_STEPS = 40;

let one: ClusterHost;
let two: NodeHost;
let proxy: DockerFaultProxy;

function chapter(title: string, tell: (t: ExecutionContext) => Promise<unknown>): void {
  if (skip) test.serial.skip(`${title} (${skip})`, (t) => t.pass());
  else
    test.serial(title, async (t) => {
      t.timeout(1_800_000);
      await tell(t);
    });
}

test.before(async () => {
  if (skip) return;
  one = await createClusterHost('one');
  [two] = await Promise.all([createNodeHost('two', one.net), one.berthOk('up')]);
  await one.loadImages();
  proxy = await startDockerFaultProxy(two.host.path('/run/docker.sock'), 'unix', two.host.path(PROXY_SOCKET));
  const credentials = (await one.berthOk('node', 'kubeconfig', 'two')).stdout;
  const config = (await one.berthOk('node', 'config')).stdout;
  two.start({ node: credentials }, config, ['--docker-endpoint', `unix://${PROXY_SOCKET}`]);
  await until('node two is Ready', async () => (await readyOf('two')) === 'True', 90_000);
});
test.after.always(async () => {
  await proxy?.close();
  await two?.close();
  await one?.close();
});

async function readyOf(name: string): Promise<string | undefined> {
  const { status } = await one.get<Node>('node', name);
  return status?.conditions?.find(({ type }) => type === 'Ready')?.status;
}

/** On node two, whatever the scheduler thinks of the node just now. */
const wanted = (name: string) =>
  pod(name, script('trap "exit 0" TERM; while :; do sleep 0.1; done'), {
    nodeName: 'two',
    tolerations: [{ operator: 'Exists' }],
    initContainers: [{ name: 'init', image: 'berth/busybox:1', command: ['true'] }],
  });

async function killDaemon(): Promise<void> {
  await two.kill();
  proxy.dropConnections();
  proxy.clear();
}

/** Name, id and process of what runs of a pod. */
async function running(name: string): Promise<Map<string, string>> {
  const rows = (await two.engine.listContainers({})).filter(
    (row) => row.state === 'running' && row.name.split('_')[2] === name,
  );
  const details = await Promise.all(rows.map(({ id }) => two.engine.inspectContainer(id)));
  return new Map(details.map((detail) => [detail.name, `${detail.id} ${detail.pid}`]));
}

const isRunning = async (name: string) => (await one.get<Pod>('pod', name)).status?.phase === 'Running';
const isGone = async (name: string) => (await one.tryKubectl(['get', 'pod', name])).code !== 0;

/** What the node itself still has of its pods. */
async function leftovers(): Promise<unknown> {
  const { stdout } = await two.sh(
    'ip -o link show master cni0 2>/dev/null | wc -l; ls /var/lib/berth-node/pods 2>/dev/null | wc -l',
  );
  const [veths, directories] = stdout.trim().split('\n').map(Number);
  return { containers: (await two.engine.listContainers({})).map(({ name }) => name), veths, directories };
}

async function nothingLeft(step: string): Promise<void> {
  await until(
    `${step}: nothing is left`,
    async () => JSON.stringify(await leftovers()) === '{"containers":[],"veths":0,"directories":0}',
    90_000,
  );
}

chapter('killed at each step of making a pod: the next daemon finishes it and restarts nothing', async (t) => {
  for (let k = 1; k <= MOST_STEPS; k++) {
    const name = `made-${k}`;
    const when = k % 2 === 0 ? 'before' : 'after';
    const step = `killed ${when} step ${k}`;
    const frozen = proxy.freezeAt(k, when, STEPS);
    await one.apply(wanted(name));
    const outcome = await Promise.race([
      frozen.struck.then(() => 'frozen'),
      until('it runs', () => isRunning(name), 60_000).then(() => 'done'),
    ]);
    if (outcome === 'done') {
      proxy.clear();
      await one.kubectl('delete', 'pod', name);
      t.true(k > 8, `${k - 1} steps`);
      return t.log(`${k - 1} steps`);
    }
    await killDaemon();
    const before = await running(name);
    two.restart();
    await until(`${step}: it runs`, () => isRunning(name), 90_000);
    const after = await running(name);
    for (const [container, identity] of before)
      if (container.startsWith('k8s_init_')) continue;
      else if (container.startsWith('k8s_POD_') && !after.has(container)) t.is(before.size, 1, `${step}: ${container}`);
      else t.is(after.get(container), identity, `${step}: ${container}`);
    t.deepEqual([...after.keys()].map((one) => one.split('_')[1]).toSorted(), ['POD', 'main'], step);
    const [status] = (await one.get<Pod>('pod', name)).status!.containerStatuses!;
    t.is(status!.restartCount, 0, step);
    await one.kubectl('delete', 'pod', name);
    await nothingLeft(step);
  }
  t.fail(`more than ${MOST_STEPS} steps`);
});

chapter(
  'killed at each step of ending a pod, and a pod deleted meanwhile: both are gone, from the API too',
  async (t) => {
    for (let k = 1; k <= MOST_STEPS; k++) {
      const [name, other] = [`ended-${k}`, `bystander-${k}`];
      const when = k % 2 === 0 ? 'before' : 'after';
      const step = `killed ${when} step ${k}`;
      await one.apply(wanted(name), wanted(other));
      for (const each of [name, other]) await until('it runs', () => isRunning(each), 90_000);
      const frozen = proxy.freezeAt(k, when, STEPS);
      await one.kubectl('delete', 'pod', name, '--wait=false');
      const outcome = await Promise.race([
        frozen.struck.then(() => 'frozen'),
        until('it is gone', () => isGone(name), 60_000).then(() => 'done'),
      ]);
      if (outcome === 'done') {
        proxy.clear();
        await one.kubectl('delete', 'pod', other);
        t.true(k > 4, `${k - 1} steps`);
        return t.log(`${k - 1} steps`);
      }
      await killDaemon();
      await one.kubectl('delete', 'pod', other, '--wait=false');
      two.restart();
      for (const each of [name, other]) await until(`${step}: ${each} is gone`, () => isGone(each), 90_000);
      await nothingLeft(step);
    }
    t.fail(`more than ${MOST_STEPS} steps`);
  },
);
