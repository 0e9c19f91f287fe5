/** `berth up` on a machine with a network configuration of its own: flannel's conflist, filled in by the overlay's subnet.env. */
import test from 'ava';
import type { Event, Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';

const kubectl = await kubectlOrWhyNot();
const isFull = process.env['BERTH_TEST_FULL'] === '1';
const story = whyNoHost() || 'skip' in kubectl || !isFull ? test.skip : test.serial;

const CONFLIST = {
  cniVersion: '0.3.1',
  name: 'cbr0',
  plugins: [
    { type: 'flannel', delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};
let cluster: ClusterHost;
let before: HostSnapshot;

test.serial.before(async () => {
  if (story === test.skip) return;
  cluster = await createClusterHost('flannel');
  await cluster.try(['mkdir', '-p', '/etc/cni/net.d']);
  await cluster.try(['tee', '/etc/cni/net.d/10-flannel.conflist'], JSON.stringify(CONFLIST));
  before = await cluster.snapshot();
});
test.after.always(() => cluster?.close());

story(
  'auto: pods get the network of the directory, as the sheet’s oracle has it; node, event, doctor say so',
  async (t) => {
    await cluster.berthOk('up');
    await cluster.loadImages();
    await cluster.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', annotations: { 'kubernetes.io/egress-bandwidth': '10M' } },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'app',
            image: 'berth/busybox:1',
            imagePullPolicy: 'Never',
            command: ['sleep', '1000'],
            ports: [{ containerPort: 80, hostPort: 8085 }],
          },
        ],
      },
    });
    const pod = await until('the pod runs', async () => {
      const one = await cluster.get<Pod>('pod', 'web');
      return one.status?.phase === 'Running' ? one : undefined;
    });
    t.is(pod.status?.podIP, '10.244.0.2');
    const [sandbox] = (await cluster.sh('ls /var/lib/cni/flannel')).trim().split('\n');
    t.regex(sandbox!, /^[0-9a-f]{64}$/);
    t.deepEqual((await cluster.sh('ls /var/lib/cni/networks/cbr0')).trim().split('\n'), [
      '10.244.0.2',
      'last_reserved_ip.0',
      'lock',
    ]);
    t.is((await cluster.sh('ls /var/lib/berth/cni/results')).trim(), `cbr0-${sandbox}-eth0`);
    t.regex(await cluster.sh('ip -4 address show dev cni0'), /inet 10\.244\.0\.1\/24/);
    const events = await until('the node tells', async () => {
      const all = await cluster.list<Event>('events', '-A');
      return all.some(({ reason }) => reason === 'NetworkConfigured') ? all : undefined;
    });
    const told = events.find(({ reason }) => reason === 'NetworkConfigured');
    t.regex(
      String(told?.message),
      /^Pods get network cbr0 \(\/etc\/cni\/net\.d\/10-flannel\.conflist: flannel, portmap\)/,
    );
    t.regex((await cluster.berth('doctor')).stdout, /10-flannel\.conflist/);
    const node = await cluster.get<Node>('node', 'flannel');
    t.is(node.status?.conditions?.find(({ type }) => type === 'Ready')?.status, 'True');
  },
);

story(
  'a broken file is told, pods that run stay; down takes everything away that the configuration brought',
  async (t) => {
    await cluster.try(
      ['tee', '/etc/cni/net.d/10-flannel.conflist'],
      '{"name": "cbr0", "plugins": [{"type": "nobody"}]}',
    );
    await until('the node is not ready', async () => {
      const node = await cluster.get<Node>('node', 'flannel');
      const ready = node.status?.conditions?.find(({ type }) => type === 'Ready');
      return /failed to find plugin "nobody"/.test(ready?.message ?? '') ? true : undefined;
    });
    t.is((await cluster.get<Pod>('pod', 'web')).status?.podIP, '10.244.0.2');
    await cluster.berthOk('down', '--purge');
    await cluster.try(['tee', '/etc/cni/net.d/10-flannel.conflist'], JSON.stringify(CONFLIST));
    t.deepEqual(diffSnapshots(before, await cluster.snapshot()), []);
    t.is((await cluster.sh('find /var/lib/cni -type f -not -name lock -not -name "last_reserved*"')).trim(), '');
  },
);
