/**
 * The API server goes away and comes back, in several ways; a node's pods live on, and what happened to them meanwhile is told within seconds.
 * A real kube-apiserver (BERTH_KUBE_ASSETS or the cache of `berth kube-assets`) that is killed and comes back with other certificates, and the
 * embedded one behind a network that swallows everything. With --full only: such stories take their time.
 */
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { findKubeAssets } from '../../cli/kube-assets/assets.ts';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { pod, script } from '../support/manifests.ts';
import { createNodeHost, type NodeHost } from '../support/node-host.ts';
import { startRealKubernetes } from '../support/real-kubernetes.ts';

const kubectl = await kubectlOrWhyNot();
const assets = findKubeAssets(process.env);
const noHost =
  whyNoHost() ??
  ('skip' in kubectl ? kubectl.skip : undefined) ??
  (process.env['BERTH_TEST_FULL'] === '1' ? undefined : 'only with --full');
/** From the moment in which the server answers again. */
const CAUGHT_UP_MS = 15_000;

function story(title: string, skip: string | undefined, tell: (t: ExecutionContext) => Promise<void>): void {
  if (skip) test.serial.skip(`${title} (${skip})`, (t) => t.pass());
  else test.serial(title, tell);
}

const isReady = ({ status }: Node) =>
  status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;

/** A pod on the node whose container dies while nobody can be told. */
async function survivor(cluster: ClusterHost, node: NodeHost, nodeName: string) {
  await cluster.apply(pod('survivor', script('sleep 3600'), { nodeName }));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/survivor', '--timeout=90s');
  const read = () => cluster.get<Pod>('pod', 'survivor');
  const { uid } = (await read()).metadata;
  const running = async () =>
    (await node.engine.listContainers({ labels: [`io.kubernetes.pod.uid=${uid}`] })).filter(
      ({ state, labels }) => state === 'running' && labels['io.kubernetes.container.name'] === 'main',
    );
  const restartCount = (one: Pod) => one.status?.containerStatuses?.[0]?.restartCount;
  return {
    running,
    async killContainer() {
      const [before] = await running();
      await node.engine.killContainer(before!.id, 'SIGKILL');
      await until('its container is started again, without an API server', async () => {
        const [one] = await running();
        return one && one.id !== before!.id;
      });
    },
    /** @returns seconds until the API knows */
    async told(t: ExecutionContext, restarts: number, sinceMs: number): Promise<void> {
      await until('the status tells of the restart', async () => restartCount(await read()) === restarts, 60_000);
      const tookMs = performance.now() - sinceMs;
      t.log(`told ${(tookMs / 1000).toFixed(1)} s after the return`);
      t.true(tookMs < CAUGHT_UP_MS, `${tookMs} ms`);
      t.is((await read()).metadata.uid, uid);
      await until('the node is Ready', async () => (await cluster.list<Node>('nodes')).every(isReady), 60_000);
    },
  };
}

story(
  'a real kube-apiserver is killed, comes back as somebody else, then as itself with a new certificate',
  noHost ?? ('skip' in assets ? assets.skip : undefined),
  async (t) => {
    const cluster = await createClusterHost('control-plane');
    const node = await createNodeHost('one', cluster.net);
    t.teardown(async () => {
      if (!t.passed) t.log((await node.log()).split('\n').slice(-25).join('\n'));
      await node.close();
      await cluster.close();
    });
    const kubernetes = await startRealKubernetes(cluster, (assets as { folder: string }).folder);
    node.start({
      node: await kubernetes.nodeKubeconfig('one', node.address),
      overlay: await kubernetes.kubeconfig('admin', ['system:masters']),
    });
    await until(
      'the node is Ready',
      async () => {
        const found = await cluster.list<Node>('nodes');
        return found.length === 1 && found.every(isReady);
      },
      120_000,
    );
    const life = await survivor(cluster, node, 'one');

    await kubernetes.killApiServer();
    await life.killContainer();
    await kubernetes.restartApiServer('foreign');
    await until(
      'the node says whom it met',
      async () => (await node.log()).includes('is not the API server of these credentials'),
      60_000,
    );
    t.is((await life.running()).length, 1);
    await kubernetes.killApiServer();
    await kubernetes.restartApiServer('renewed');
    await life.told(t, 1, performance.now());

    // At once again: nobody had time to notice.
    await kubernetes.killApiServer();
    await life.killContainer();
    await kubernetes.restartApiServer();
    await life.told(t, 2, performance.now());
    t.is((await life.running()).length, 1);
  },
);

story('a network that swallows everything between a joined node and the embedded API server', noHost, async (t) => {
  const cluster = await createClusterHost('first');
  const [node] = await Promise.all([createNodeHost('second', cluster.net), cluster.berthOk('up')]);
  t.teardown(async () => {
    await node.close();
    await cluster.close();
  });
  await cluster.loadImages();
  const ticket = JSON.parse((await cluster.berthOk('token', 'create', '-o', 'json')).stdout) as Record<string, string>;
  const joined = await node.sh(
    `${join(CHECKOUT, 'berth')} join --server ${ticket['server']} --token ${ticket['token']} --ca-hash ${ticket['caHash']} --node-ip ${node.address} --node-name second 2>&1`,
  );
  t.is(joined.code, 0, joined.stdout);
  await until(
    'both nodes are Ready',
    async () => {
      const found = await cluster.list<Node>('nodes');
      return found.length === 2 && found.every(isReady);
    },
    120_000,
  );
  const life = await survivor(cluster, node, 'second');
  const rule = (way: 'I' | 'D') =>
    node.sh(
      `iptables -w -${way} INPUT -s ${cluster.address} -j DROP && iptables -w -${way} OUTPUT -d ${cluster.address} -j DROP`,
    );

  t.is((await rule('I')).code, 0);
  await life.killContainer();
  // Longer than a request waits; TCP's own next try is later every time.
  await new Promise((resolve) => setTimeout(resolve, 45_000));
  t.is((await life.running()).length, 1);
  t.is((await rule('D')).code, 0);
  await life.told(t, 1, performance.now());
});
