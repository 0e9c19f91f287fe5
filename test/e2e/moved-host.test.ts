/** R19: the host's address changes over a reboot, and while the cluster runs. */
import { mkdtempSync, rmSync } from 'node:fs';
import test from 'ava';
import type { EndpointSlice, Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { deployment, httpServer } from '../support/manifests.ts';
import { createNodeHost } from '../support/node-host.ts';

const kubectl = await kubectlOrWhyNot();
const story = whyNoHost() || 'skip' in kubectl ? test.skip : test.serial;
/** Of a hard disk: /var/tmp is one where tests run. */
const folder = mkdtempSync('/var/tmp/berth-moved-host-');

let cluster: ClusterHost;

test.after.always(async () => {
  await cluster?.close();
  rmSync(folder, { recursive: true, force: true });
});

const NODE_PORT = 30_080;
const web = [
  deployment('web', 2, httpServer(8080)),
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: {
      type: 'NodePort',
      selector: { app: 'web' },
      ports: [{ port: 80, targetPort: 8080, nodePort: NODE_PORT }],
    },
  },
];

const internalIp = async () =>
  (await cluster.get<Node>('node', 'moved')).status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
const answers = (address: string) => async () =>
  (await cluster.try(['curl', '-s', '--max-time', '2', `http://${address}:${NODE_PORT}/`])).stdout.includes('web');

/** Everything that has the node's address in it. */
async function livesAt(address: string): Promise<void> {
  await until(`the node is Ready at ${address}`, async () => {
    const { status } = await cluster.get<Node>('node', 'moved');
    const ready = status?.conditions?.find(({ type }) => type === 'Ready')?.status;
    return ready === 'True' && (await internalIp()) === address;
  });
  await until('the Service answers at the new address', answers(address));
  await until('the API server is found there', async () => {
    const [slice] = await cluster.list<EndpointSlice>('endpointslices', '-l', 'kubernetes.io/service-name=kubernetes');
    return slice?.endpoints?.[0]?.addresses[0] === address;
  });
  const [pod] = await until('pods run again', async () => {
    const pods = await cluster.list<Pod>('pods', '-l', 'app=web');
    const isReady = ({ status }: Pod) =>
      status?.hostIP === address && status.conditions?.some((one) => one.type === 'Ready' && one.status === 'True');
    return pods.length === 2 && pods.every(isReady) && pods;
  });
  const { output } = await cluster.inPod(pod!.metadata.name, 'nslookup web.default.svc.cluster.local');
  if (!/Address.*10\.\d+/.test(output)) throw new Error(`no answer from the cluster's DNS server: ${output}`);
}

story('R19: after a reboot with another address the cluster lives, pods and all', async (t) => {
  const disk = { folder: `${folder}/machine`, kept: ['var/log'], cgroupBranch: `berth-moved-host-${process.pid}` };
  cluster = await createClusterHost('moved', { disk });
  const { net, address: first } = cluster;
  await cluster.berthOk('up');
  await cluster.loadImages();
  await cluster.apply(...web);
  await livesAt(first);
  const serials = await cluster.sh('cat /var/lib/berth/pki/ca.crt /var/lib/berth/kubeconfig | sha256sum');

  // The power is cut; the disk stays.
  await cluster.host.close();
  cluster = await createClusterHost('moved', { disk, net });
  t.not(cluster.address, first);
  // As its unit does at boot, with what `up` recorded.
  const daemon = cluster.host.spawn([cluster.berthPath, 'run'], { stdio: 'ignore' });
  t.teardown(() => void daemon.kill('SIGKILL'));
  await livesAt(cluster.address);
  t.is(await cluster.sh('cat /var/lib/berth/pki/ca.crt /var/lib/berth/kubeconfig | sha256sum'), serials);
});

story('R19: the address changes while the cluster runs, containers do not notice', async (t) => {
  const identities = async () => [...(await cluster.containers())].map(([name, { id }]) => `${name} ${id}`).toSorted();
  const before = await identities();
  const pid = await cluster.sh('cat /run/berth/berth.pid');
  const next = '198.51.100.77';
  await cluster.sh(
    `ip address add ${next}/24 dev eth0 && ip address del ${cluster.address}/24 dev eth0; ip address add ${next}/24 dev eth0 2>/dev/null || true`,
  );
  await livesAt(next);
  t.deepEqual(await identities(), before);
  t.is(await cluster.sh('cat /run/berth/berth.pid'), pid, 'the same process: who supervises it sees none end');
});

const isFull = process.env['BERTH_TEST_FULL'] === '1';
(isFull ? story : test.skip)(
  `R19: a node that joined gets another address while it runs${isFull ? '' : ' (with --full only)'}`,
  async (t) => {
    const second = await createNodeHost('second', cluster.net);
    t.teardown(() => second.close());
    const { server, token, caHash } = JSON.parse((await cluster.berthOk('token', 'create', '-o', 'json')).stdout);
    const { code, stdout } = await second.sh(
      `${cluster.berthPath} join --server ${server} --token ${token} --ca-hash ${caHash} --node-name second 2>&1`,
    );
    t.is(code, 0, stdout);
    const isReadyAt = async (address: string) => {
      const { status, spec } = await cluster.get<Node>('node', 'second');
      const ready = status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';
      const isThere = status?.addresses?.some((one) => one.address === address);
      const routes = await cluster.sh('ip route');
      return ready && isThere && routes.includes(`${spec?.podCIDR} via ${address} `);
    };
    await until('the node is Ready', () => isReadyAt(second.address));
    await second.sh(
      `ip address add 198.51.100.88/24 dev eth0; ip address del ${second.address}/24 dev eth0; ip address add 198.51.100.88/24 dev eth0`,
    );
    await until('it is Ready at the new address, and the other node has its way', () => isReadyAt('198.51.100.88'));
    t.pass();
  },
);
