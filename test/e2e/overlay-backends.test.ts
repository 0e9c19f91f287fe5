/**
 * A cluster by `up --nodes 2` over each backend that this kernel has, one after another by `down` and `up`: pods, nodes, Services and a
 * host outside reach each other in all sizes, and nothing of the backend before is left. Backends of other kernels: test/guest.
 */
import { existsSync } from 'node:fs';
import test from 'ava';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { createHost, type Host } from '../../cli/hosts/host.ts';
import { bird, debianProgramPath } from '../../cli/testing/debian-program.ts';
import type { Pod } from '../../src/kube/types.ts';
import { installBird } from '../support/bird.ts';
import { type ClusterHost, createClusterHost, kubectlOrWhyNot, until, whyNoHost } from '../support/cluster-host.ts';
import { diffSnapshots, type HostSnapshot } from '../support/host-snapshot.ts';
import { httpServer, pod } from '../support/manifests.ts';
import { createOverlayStory, ECHO_PORT, type OverlayStory } from '../support/overlay-story.ts';
import { createTraffic, type Traffic, type TrafficAnswer, type TrafficRequest } from '../support/traffic.ts';

const kubectl = await kubectlOrWhyNot();
const skip = whyNoHost() ?? ('skip' in kubectl ? kubectl.skip : undefined);
const fullSkip = skip ?? (process.env['BERTH_TEST_FULL'] === '1' ? undefined : 'with --full only');
const hasBird = existsSync(debianProgramPath(CHECKOUT, bird));

const NET_CONF = '/etc/kube-flannel/net-conf.json';
const FAR = 'machine-2';
const FAR_ENGINE = `/var/lib/berth/nodes/${FAR}/disk/disk/var/lib/berth-node/docker.sock`;
const UPLINK_MTU = 1500;

interface BackendCase {
  /** net-conf.json's `Backend`, or its type alone: then the flag says it. */
  backend: string | { Type: string; [key: string]: unknown };
  /** Of pods' links. */
  mtu: number;
  /** How the node's route to the other one's pods begins. */
  route: RegExp;
  /** Takes longer, or needs what is not everywhere. */
  skip?: string;
}

/** The first is CI's; the others are --full. */
const CASES: BackendCase[] = [
  { backend: 'udp', mtu: UPLINK_MTU - 28, route: /^10\.244\.1\.0\/24 dev flannel0 proto 191/m },
  {
    backend: 'host-gw',
    mtu: UPLINK_MTU,
    route: /^10\.244\.1\.0\/24 via 172\.29\.77\.2 dev berth0 proto 191/m,
    skip: fullSkip,
  },
  {
    backend: { Type: 'bgp', BirdProgram: '/opt/bird/bird' },
    mtu: UPLINK_MTU,
    route: /^10\.244\.1\.0\/24 via 172\.29\.77\.2 dev berth0 proto bird/m,
    skip: fullSkip ?? (hasBird ? undefined : 'no bird2 from Debian'),
  },
  {
    backend: 'vxlan',
    mtu: UPLINK_MTU - 50,
    route: /^10\.244\.1\.0\/24 via 10\.244\.1\.0 dev flannel\.1 proto 191 onlink/m,
    skip: fullSkip,
  },
];

let machine: ClusterHost;
/** Outside of the cluster, on the wire of the machine. */
let client: Host;
let traffic: Traffic;
let story: OverlayStory;
let before: HostSnapshot;
let isUp = false;

if (!skip) {
  test.before(async () => {
    machine = await createClusterHost('machine');
    client = await createHost('client');
    await machine.net.plug(client);
    if (hasBird) installBird(machine.host.path('/opt/bird'));
    // Of the machine's own Docker: no Engine of a node has anything to do with it.
    const daemon = { 'exec-opts': ['native.cgroupdriver=systemd'], 'live-restore': true, 'data-root': '/srv/docker' };
    await machine.sh(`mkdir -p /etc/docker; echo '${JSON.stringify(daemon)}' >/etc/docker/daemon.json`);
    await machine.sh('mkdir /etc/kube-flannel');
    before = await machine.snapshot();
    traffic = createTraffic(machine);
    story = createOverlayStory(machine, traffic, {
      near: { name: 'machine', addresses: ['172.29.77.1'] },
      far: { name: FAR, addresses: ['172.29.77.2'] },
    });
  });
  test.after.always(async () => {
    await client?.close();
    await machine?.close();
  });
}

async function bringUp(backend: BackendCase['backend'], ...more: string[]): Promise<void> {
  if (typeof backend !== 'string')
    await machine.sh(`echo '${JSON.stringify({ Network: '10.244.0.0/16', Backend: backend })}' >${NET_CONF}`);
  const flag = typeof backend === 'string' ? ['--overlay-backend', backend] : ['--net-config-path', NET_CONF];
  await machine.berthOk('up', '--nodes', '2', ...flag, ...more);
  for (const socket of [undefined, FAR_ENGINE]) await machine.loadImages(socket);
}

async function takeDown(...flags: string[]): Promise<void> {
  await story.end();
  await machine.berthOk('down', ...flags);
  await machine.sh(`rm -f ${NET_CONF}`);
  isUp = false;
}

async function askFromOutside(requests: TrafficRequest[]): Promise<TrafficAnswer[]> {
  return JSON.parse((await client.run(['sh', '-c', traffic.askCommand(requests)])).stdout);
}

for (const { backend, mtu, route, skip: why = skip } of CASES) {
  const name = typeof backend === 'string' ? backend : backend.Type;
  (why ? test.serial.skip : test.serial)(
    `${name}: pods, Services and nodes of two nodes, and a host outside, reach each other${why ? ` (${why})` : ''}`,
    async (t) => {
      if (isUp) await takeDown();
      t.deepEqual(diffSnapshots(before, await machine.snapshot()), [], 'nothing is left of the backend before');
      isUp = true;
      await bringUp(backend);
      await story.applyPods();
      await story.begin();
      t.regex(await machine.sh('ip route'), route);
      const other = await machine.berth('up', '--overlay-backend', 'alloc');
      t.is(other.code, 1);
      t.true(
        other.stderr.includes(`--overlay-backend alloc: the cluster runs with ${name}. To change it: 'berth down'`),
      );
      await story.check(t, mtu);
      // What it learned of the way with the backend before.
      await client.run(['ip', 'route', 'flush', 'cache']);
      await story.checkFromOutside(t, askFromOutside, { hosts: [machine.address], mtu, uplinkMtu: UPLINK_MTU });
    },
  );
}

(fullSkip ? test.serial.skip : test.serial)(
  `a running cluster changes from vxlan to host-gw node by node: pods of this machine run on${fullSkip ? ` (${fullSkip})` : ''}`,
  async (t) => {
    const idOf = async (pod: string) =>
      (await machine.get<Pod>('pod', pod)).status?.containerStatuses?.[0]?.containerID;
    const [id] = [await idOf('near')];
    await story.end();
    await machine.sh('kill -9 "$(cat /run/berth/berth.pid)"');
    await machine.berthOk('up', '--nodes', '2', '--overlay-backend', 'host-gw');
    await until('the node tells that the other one has another backend', async () =>
      (await machine.sh('cat /var/log/berth/berth.log')).includes('it has the backend vxlan, this node host-gw'),
    );
    await machine.berthOk('node', 'stop', FAR);
    await machine.berthOk('node', 'start', FAR);
    const { near, far } = await story.begin();
    t.is(await idOf('near'), id);
    t.regex(await machine.sh('ip route'), /^10\.244\.1\.0\/24 via 172\.29\.77\.2 dev berth0 proto 191/m);
    t.notRegex(await machine.sh('ip link'), /flannel/);
    await story.checkFromOutside(t, askFromOutside, { hosts: [machine.address], mtu: 1500, uplinkMtu: UPLINK_MTU });
    // It has the MTU that it was born with: what is larger is told so on the way to it, and streams to pods of the other MTU beside it flow.
    const whole = {
      protocol: 'udp' as const,
      host: near.pod[0]!,
      port: ECHO_PORT,
      bytes: UPLINK_MTU - 28,
      timeoutMs: 30_000,
    };
    t.deepEqual(await traffic.ask(far.pod[0]!, [whole, whole]), [{ error: 'EMSGSIZE' }, { from: far.pod[0]! }]);
    await machine.apply(pod('late', httpServer(), { nodeName: 'machine' }));
    await machine.kubectl('wait', 'pod/late', '--for=condition=Ready', '--timeout=60s');
    const late = (await machine.get<Pod>('pod', 'late')).status?.podIP ?? '';
    t.regex(await traffic.run(late, 'ip -o link show eth0'), / mtu 1500 /);
    t.deepEqual(await traffic.ask(late, [{ ...whole, protocol: 'tcp', bytes: 2 << 20 }]), [{ from: late }]);
    await takeDown('--purge');
    t.deepEqual(diffSnapshots(before, await machine.snapshot()), []);
  },
);
