/** `./berth up --nodes 3 --overlay-backend vxlan`: three nodes on one machine, a tunnel between their pods; one is stopped, started, cut off, removed; `down` leaves nothing. */
import test from 'ava';
import type { Node, Pod } from '../../src/kube/types.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';
import { httpServer, pod, service } from '../support/manifests.ts';

const kubectl = await kubectlOrWhyNot();
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);
const chapter = skip ? test.serial.skip : test.serial;
const name = (title: string) => (skip ? `${title} (${skip})` : title);

const TWO = 'machine-2';
const THREE = 'machine-3';
const ROUTER = '198.51.100.1';
const OUTSIDE = '203.0.113.80';
let machine: ClusterHost;
let before: HostSnapshot;

if (!skip) {
  test.before(async () => {
    machine = await createClusterHost('machine');
    // An outside beyond the machine's default route: an address of the switch that the machine is plugged into.
    const { host } = machine.net;
    await host.run([
      'sh',
      '-euc',
      `ip address add ${ROUTER}/24 dev br0; ip address add ${OUTSIDE}/32 dev lo; ip link set lo up`,
    ]);
    const server = `require('node:http').createServer((call, answer) => answer.end(call.socket.remoteAddress)).listen(80, '${OUTSIDE}')`;
    host.spawn([process.execPath, '-e', server], { stdio: 'ignore' });
    await machine.sh(`ip route add default via ${ROUTER}`);
    before = await machine.snapshot();
  });
  test.after.always(() => machine.close());
}

/** What a pod gets from the web server at an address. */
const ask = async (from: string, host: string) =>
  (await machine.kubectl('exec', from, '--', 'wget', '-qO-', '-T5', `http://${host}/`)).trim();

/** Once the overlays have heard of what happened. */
const reaches = (from: string, to: string) =>
  until(`${from} reaches ${to}`, async () => {
    const { podIP } = (await machine.get<Pod>('pod', to)).status ?? {};
    return podIP !== undefined && (await ask(from, podIP).catch(() => undefined)) === to;
  });

const isReady = async (node: string) => {
  const { status } = await machine.get<Node>('node', node);
  return status?.conditions?.find(({ type }) => type === 'Ready')?.status;
};

chapter(name('up --nodes 3: three nodes are Ready, each with a network and an Engine of its own'), async (t) => {
  const up = await machine.berthOk(
    'up',
    '--nodes',
    '3',
    '--node-monitor-period',
    '1s',
    '--node-monitor-grace-period',
    '4s',
    '--overlay-backend',
    'vxlan',
  );
  t.regex(up.stderr, /machine-2, machine-3 are Ready/);
  const nodes = await machine.list<Node>('nodes');
  t.deepEqual(
    nodes.map(({ metadata }) => metadata.name),
    ['machine', TWO, THREE],
  );
  const addresses = nodes.map(({ status }) => status?.addresses?.find(({ type }) => type === 'InternalIP')?.address);
  t.deepEqual(addresses, [machine.address, '172.29.77.2', '172.29.77.3']);
  t.is(new Set(nodes.map(({ spec }) => spec?.podCIDR)).size, 3);
  t.regex((await machine.berthOk('node', 'list')).stdout, /machine-2 +172\.29\.77\.2 +runs .*\nmachine-3/);
  for (const node of ['machine', TWO])
    await until(`${node} tells its overlay's figures`, async () => {
      const metrics = await machine.kubectl('get', '--raw', `/api/v1/nodes/${node}/proxy/metrics`);
      return /^berth_overlay_peers 2$/m.test(metrics) && /^berth_overlay_mtu_bytes 1450$/m.test(metrics);
    });
});

chapter(name('a pod on each node: all reach each other, and a Service has all three'), async (t) => {
  await machine.loadImages();
  for (const node of [TWO, THREE])
    await machine.loadImages(`/var/lib/berth/nodes/${node}/disk/disk/var/lib/berth-node/docker.sock`);
  const pods = ['machine', TWO, THREE].map((node) =>
    pod(`web-${node}`, httpServer(), { nodeName: node }, { labels: { app: 'web' } }),
  );
  await machine.apply(...pods, service('web', { app: 'web' }));
  await machine.kubectl('wait', 'pod', '-l', 'app=web', '--for=condition=Ready', '--timeout=60s');
  const running = await machine.list<Pod>('pods', '-l', 'app=web');
  for (const from of running) {
    for (const to of running)
      t.is(
        await ask(from.metadata.name, to.status!.podIP!),
        to.metadata.name,
        `${from.metadata.name} → ${to.metadata.name}`,
      );
    t.regex(await ask(from.metadata.name, 'web'), /^web-machine/);
    t.is(await ask(from.metadata.name, OUTSIDE), machine.address, `${from.metadata.name} → outside, by the machine`);
  }
  // The tunnel's headers need their place in each frame.
  const mtu = await machine.kubectl('exec', 'web-machine', '--', 'cat', '/sys/class/net/eth0/mtu');
  t.is(mtu.trim(), '1450');
  t.regex(await machine.sh('ip -d link show flannel.1'), /vxlan id 1 local 172\.29\.77\.1 dev berth0/);
});

chapter(
  name('stop cuts the power: the node is NotReady, its pod gone from the Service; start brings both back'),
  async (t) => {
    await machine.berthOk('node', 'stop', TWO);
    await until('the stopped node is given up', async () => (await isReady(TWO)) === 'Unknown');
    t.regex((await machine.berthOk('node', 'list')).stdout, /machine-2 .* stopped/);
    await machine.berthOk('node', 'start', TWO);
    t.is(await isReady(TWO), 'True');
    await machine.kubectl('wait', 'pod', 'web-machine-2', '--for=condition=Ready', '--timeout=60s');
    const pod = await machine.get<Pod>('pod', 'web-machine-2');
    t.true((pod.status?.containerStatuses?.[0]?.restartCount ?? 0) > 0, 'its disk knows the pod');
    await reaches('web-machine', 'web-machine-2');
    await reaches('web-machine-2', 'web-machine-3');
  },
);

chapter(name('partition: the node runs on and is given up; heal: it is back, without a restart'), async (t) => {
  const restarts = async () =>
    (await machine.get<Pod>('pod', 'web-machine-3')).status?.containerStatuses?.[0]?.restartCount;
  const atFirst = await restarts();
  await machine.berthOk('node', 'partition', THREE);
  await until('the node that is cut off is given up', async () => (await isReady(THREE)) === 'Unknown');
  await machine.berthOk('node', 'heal', THREE);
  await until('it is Ready again', async () => (await isReady(THREE)) === 'True');
  t.is(await restarts(), atFirst);
  await reaches('web-machine-3', 'web-machine');
});

chapter(name('add, two at once, and remove; what is wrong is refused by name'), async (t) => {
  await Promise.all(['extra', 'more'].map((node) => machine.berthOk('node', 'add', node)));
  t.deepEqual(await Promise.all(['extra', 'more'].map(isReady)), ['True', 'True']);
  // Ready long since: nothing to wait for.
  await machine.berthOk('node', 'start', 'extra');
  // Killed, its keeper can tidy nothing up.
  await machine.sh('kill -9 $(cat /run/berth/node-more.pid)');
  await machine.berthOk('node', 'remove', 'more');
  t.is(await machine.sh('find /sys/fs/cgroup -maxdepth 2 -name "berth-node-more"'), '');
  const again = await machine.berth('node', 'add', 'extra');
  t.is(again.code, 1);
  t.regex(again.stderr, /there is a node extra already/);
  await machine.berthOk('node', 'remove', 'extra');
  t.regex((await machine.tryKubectl(['get', 'node', 'extra'])).stderr, /not found/);
  t.regex((await machine.berth('node', 'stop', 'extra')).stderr, /there is no node extra on this machine/);
  t.regex((await machine.berth('node', 'remove', 'machine')).stderr, /is this machine itself/);
  t.regex((await machine.berth('up', '--nodes', '0')).stderr, /--nodes 0/);
  const small = '/var/lib/berth/nodes/small';
  await machine.sh(`mkdir ${small}; mount -t tmpfs -o size=128k tmpfs ${small}`);
  const full = await machine.berth('node', 'add', 'small');
  t.is(full.code, 1);
  t.regex(full.stderr, /the node's disk .*\/small\/disk can't be written: ENOSPC/);
  await machine.sh(`umount ${small}; rmdir ${small}`);
});

chapter(name('the daemon is killed: the other nodes run on; down --purge leaves nothing of any of them'), async (t) => {
  await machine.sh('kill -9 "$(cat /run/berth/berth.pid)"');
  t.regex((await machine.berthOk('node', 'list')).stdout, /machine-2 .* runs/);
  await machine.berthOk('up', '--nodes', '3');
  t.regex(await machine.sh('ip -d link show flannel.1'), /vxlan id 1/, 'the cluster keeps its backend');
  await machine.berthOk('down', '--purge');
  t.deepEqual(diffSnapshots(before, await machine.snapshot()), []);
});
